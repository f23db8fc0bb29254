//! One command to many robots, from both sides.
//!
//! A robot, which keeps the epochs that it has seen in LEDGER and sweeps when it is told to:
//! `cargo run -p client-sdk --example command -- ADDRESS CA_FILE CERTIFICATE KEY LEDGER`
//!
//! An operator, who tells the robots of a group to sweep:
//! `cargo run -p client-sdk --example command -- ADDRESS CA_FILE TOKEN_FILE GROUP_NAME`
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use std::time::Duration;

use anyhow::{Context as _, bail};
use client_sdk::{Client, ClientConfig, Credential, NewCommand, Order, OrderLedger, Targets};

/// Only what was accepted may be begun: then the server keeps it, and it is neither late nor
/// cancelled.
async fn sweep(mut order: Order, remaining: Duration) {
    println!("{} with {remaining:?} left", order.action());
    if order.action() != "sweep" {
        drop(order.reject("this robot only sweeps").await);
        return;
    }
    if let Err(why) = order.accept().await {
        return println!("not begun: {why}");
    }
    for percent in [0, 50, 100] {
        order.running(percent);
        if order.is_cancelled() {
            drop(order.cancelled("put the broom down").await);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match order.finish(r#"{"swept_m2": 12}"#).await {
        Ok(state) => println!("the server has it as {state:?}"),
        Err(error) => println!("the next run says it: {error}"),
    }
}

async fn robot(config: ClientConfig, ledger: &str) -> anyhow::Result<()> {
    let ledger = OrderLedger::open(ledger)?;
    let (client, _events) = Client::connect(config).await?;
    println!("{} waits for orders", client.account().name);
    client.on_command(ledger, 1, sweep).await;
    Ok(())
}

async fn operator(config: ClientConfig, name: &str) -> anyhow::Result<()> {
    let (client, _events) = Client::connect(config).await?;
    let groups = client.conversations().await?;
    let group = groups.iter().find(|group| group.name == name);
    let group = group.with_context(|| format!("no group {name}"))?.id;
    let command = NewCommand::new(Targets::Group(group), "sweep", Duration::from_secs(30));
    let mut watch = client.send_command(command).await?;
    println!("sent {}", watch.key());
    for (robot, outcome) in watch.finished().await? {
        let words = [&outcome.result_json[..], &outcome.reason].concat();
        println!("{robot}: {:?} {words}", outcome.state);
    }
    client.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [address, ca, certificate, key, ledger] => {
            let credential = Credential::from_files(certificate, key)?;
            robot(ClientConfig::new([address], ca, credential), ledger).await
        }
        [address, ca, token, group] => {
            let credential = Credential::token_file(token)?;
            operator(ClientConfig::new([address], ca, credential), group).await
        }
        _ => bail!("arguments: ADDRESS CA_FILE, then CERTIFICATE KEY LEDGER or TOKEN_FILE GROUP"),
    }
}
