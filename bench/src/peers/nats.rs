//! nats-server: core, which stores nothing, and with a stream for each group.

use std::path::Path;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::place::Place;
use super::process::Process;
use super::{Clients, Server, Settings, System};

const CORE: &str = include_str!("../../peers/nats.conf");

const JETSTREAM: &str = include_str!("../../peers/jetstream.conf");

/// Where Debian puts it; it may be missing in a user's PATH.
const PROGRAM: &str = "/usr/sbin/nats-server";

/// Starts one. Subjects need not be made, and streams are made by the clients
/// ([`super::nats_codec`]).
///
/// # Errors
/// When Debian's `nats-server` is not installed, or does not start; when it is to sync always and
/// the file system of temporary files has no synchronous folders.
pub async fn start(system: System, settings: Settings) -> anyhow::Result<Server> {
    let place = Place::new()?;
    let core = place.configure("nats.conf", CORE, &[])?;
    if system == System::Jetstream {
        let store = place.path().join("store");
        std::fs::create_dir(&store)?;
        if settings == Settings::SyncAlways {
            write_through(&store).await?;
        }
        let store = store.display().to_string();
        let config = place.configure("jetstream.conf", JETSTREAM, &[("STORE", &store)])?;
        let mut server = run(place, &config, Clients::Jetstream).await?;
        server.durable = settings == Settings::SyncAlways;
        return Ok(server);
    }
    ensure!(
        settings == Settings::Default,
        "NATS core stores nothing to sync"
    );
    let mut server = run(place, &core, Clients::Nats).await?;
    server.target.acknowledges = false;
    Ok(server)
}

async fn run(place: Place, config: &Path, clients: Clients) -> anyhow::Result<Server> {
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(config);
    let mut process = Process::start(command, "nats-server", &place.path().join("log"))?;
    process.listens(place.address()).await?;
    let mut target = place.target(clients);
    target.line_before_tls = true;
    Ok(Server {
        durable: false,
        pids: vec![process.pid()],
        target,
        keeps: Box::new((process, place)),
    })
}

/// From now on a write to a file that is made in this folder returns when the disk has it.
async fn write_through(folder: &Path) -> anyhow::Result<()> {
    let set = Command::new("chattr").arg("+S").arg(folder).output().await;
    let set = set.context("cannot start chattr: apt-get install e2fsprogs")?;
    let said = String::from_utf8_lossy(&set.stderr);
    let folder = folder.display();
    ensure!(
        set.status.success(),
        "the file system of {folder} has no synchronous folders (ext4 has): {said}"
    );
    Ok(())
}
