//! A robot that lifts: declares one action, carries out a planner's steps and reports each.
//!
//! `cargo run -p client-sdk --example robot -- ADDRESS CA_FILE CERTIFICATE KEY`
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::time::Duration;

use anyhow::bail;
use client_sdk::{ActionContext, ActionError, ClientConfig, Credential, Event, Robot};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

/// Lifts an object from the floor.
#[derive(Debug, Deserialize, JsonSchema)]
struct Lift {
    /// The object, as the map names it.
    object: String,
    /// How high, in metres.
    #[serde(default = "lowest")]
    height_m: f64,
}

fn lowest() -> f64 {
    0.2
}

/// What the planner hears follows from what this returns: FINISHED with the value, or FAILED,
/// REJECTED or CANCELLED with the reason. ACCEPTED was said before it is called.
async fn lift(arguments: Lift, context: ActionContext) -> Result<Value, ActionError> {
    if arguments.height_m > 3.0 {
        return Err(ActionError::Rejected("the mast ends at 3 m".into()));
    }
    for percent in (0..=100).step_by(20) {
        if context.cancelled() {
            return Err(ActionError::Cancelled("lowered it again".into()));
        }
        context.progress(percent);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(json!({ "lifted": arguments.object }))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, ca, certificate, key] = arguments.as_slice() else {
        bail!("arguments: ADDRESS CA_FILE CERTIFICATE KEY");
    };
    let credential = Credential::from_files(certificate, key)?;
    let config = ClientConfig::new([address], ca, credential);

    let mut robot = Robot::connect(config, "forklift-2t").await?;
    println!("{} waits for commands", robot.account().name);
    robot.on_action("lift", lift);
    robot.on_event(|event| {
        if let Event::Message(message) = event {
            println!("number {}: {:?}", message.sequence, message.content);
        }
    });

    let stopper = robot.stopper();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopper.stop();
        }
    });
    println!("ended: {:?}", robot.run().await?);
    Ok(())
}
