//! What robots can do: a robot that declares it, and somebody who asks, watches and commands.
//!
//! `cargo run -p client-sdk --example capabilities -- robot ADDRESS CA_FILE CERTIFICATE KEY`, and
//! `… -- ask ADDRESS CA_FILE TOKEN_FILE QUERY`, as an operator in a group with robots, where QUERY is
//! for example `"搬运" in capabilities && 搬运.载重_kg >= 5 && battery > 20`.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::time::Duration;

use anyhow::bail;
use client_sdk::registry::{number, text, texts};
use client_sdk::{
    ActionParameter, ActionSpec, Capability, CapabilityCard, Client, ClientConfig, Credential,
    Error, Fact, LiveValues, NewCommand, Targets, ValueDataType,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["robot", address, ca, certificate, key] => {
            let credential = Credential::from_files(certificate, key)?;
            robot(ClientConfig::new([*address], *ca, credential)).await
        }
        ["ask", address, ca, token, query] => {
            let credential = Credential::token_file(token)?;
            ask(ClientConfig::new([*address], *ca, credential), query).await
        }
        _ => bail!("arguments: robot ADDRESS CA CERTIFICATE KEY, or ask ADDRESS CA TOKEN QUERY"),
    }
}

/// Declares what it can, and says its battery as it falls.
async fn robot(config: ClientConfig) -> anyhow::Result<()> {
    let (client, _events) = Client::connect(config).await?;
    client.announce(card()).await?;
    let live = LiveValues::new(client.clone());
    for percent in (0..=100).rev() {
        live.set(number("battery", f64::from(percent), "%")).await?;
        println!("battery {percent} %");
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    client.close().await;
    Ok(())
}

fn card() -> CapabilityCard {
    let fact = |predicate: &str, arguments: &[&str], negated| Fact {
        predicate: predicate.into(),
        arguments: arguments.iter().map(|&one| one.into()).collect(),
        negated,
    };
    CapabilityCard {
        model: "forklift-2t".into(),
        manufacturer: "北方".into(),
        capabilities: vec![Capability {
            name: "搬运".into(),
            attributes: vec![number("载重", 10.0, "kg"), number("height", 1.8, "m")],
            description: "抬起箱子并送到别处".into(),
        }],
        attributes: vec![text("zone", "B"), texts("maps", &["v6", "v7"])],
        // What it does to the world, for a planner that checks its plans.
        actions: vec![ActionSpec {
            name: "pick".into(),
            description: "抬起一个箱子".into(),
            parameters: vec![ActionParameter {
                key: "box".into(),
                value_data_type: ValueDataType::String.into(),
                object_type: "box".into(),
                ..ActionParameter::default()
            }],
            preconditions: vec![fact("holding-nothing", &["?self"], false)],
            effects: vec![
                fact("holding", &["?self", "?box"], false),
                fact("holding-nothing", &["?self"], true),
            ],
            ..ActionSpec::default()
        }],
        ..CapabilityCard::default()
    }
}

/// Asks who meets a condition, commands any one of them, and watches who comes and goes.
async fn ask(config: ClientConfig, query: &str) -> anyhow::Result<()> {
    let (client, _events) = Client::connect(config).await?;
    match client.query_robots(query, None).await {
        Ok(robots) => {
            for robot in robots {
                println!("{} {:?}", robot.account.name, robot.live);
            }
        }
        Err(Error::Refused(refusal)) => bail!("{refusal} {:?}", refusal.query_fault),
        Err(error) => return Err(error.into()),
    }
    let any = Targets::Any {
        query: query.to_owned(),
        group: None,
        count: 1,
    };
    let command = NewCommand::new(any, "pick", Duration::from_secs(30)).arguments(r#"{"box":"3"}"#);
    match client.send_command(command).await {
        Ok(watch) => println!("{} is sent: {:?}", watch.key(), watch.counts()),
        // None that it shares a group with.
        Err(error) => println!("{error}"),
    }
    let mut watch = client.watch_robots(query, None).await?;
    println!("{:?}", watch.robots());
    for _ in 0..3 {
        let change = watch.changed().await?;
        println!("entered {:?}, left {:?}", change.entered, change.left);
    }
    client.close().await;
    Ok(())
}
