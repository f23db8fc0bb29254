//! Mosquitto: an MQTT broker that keeps what it has in memory.

use anyhow::ensure;
use tokio::process::Command;

use super::place::Place;
use super::process::Process;
use super::{Clients, Server, Settings};

const TEMPLATE: &str = include_str!("../../peers/mosquitto.conf");

/// Where Debian puts it; it may be missing in a user's PATH.
const PROGRAM: &str = "/usr/sbin/mosquitto";

/// Starts one. Topics need not be made.
///
/// # Errors
/// When Debian's `mosquitto` is not installed, or does not start.
pub async fn start(settings: Settings) -> anyhow::Result<Server> {
    ensure!(
        settings == Settings::Default,
        "Mosquitto has no setting to sync"
    );
    let place = Place::new()?;
    let config = place.configure("mosquitto.conf", TEMPLATE, &[])?;
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(config);
    let mut process = Process::start(command, "mosquitto", &place.path().join("log"))?;
    process.listens(place.address()).await?;
    Ok(Server {
        durable: false,
        pids: vec![process.pid()],
        target: place.target(Clients::Mqtt),
        keeps: Box::new((process, place)),
    })
}
