//! A group from its making to its end: members as what they are, a name and attributes, handing on.
//!
//! `cargo run -p client-sdk --example groups -- ADDRESS CA_FILE TOKEN_FILE OTHER`, where OTHER is
//! the name of an operator who has connected before.
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

use anyhow::{Context as _, bail};
use client_sdk::{Client, ClientConfig, Credential, GroupUpdate, Role, content};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, ca, token, other] = arguments.as_slice() else {
        bail!("arguments: ADDRESS CA_FILE TOKEN_FILE OTHER");
    };
    let config = ClientConfig::new([address], ca, Credential::token_file(token)?);
    let (client, _events) = Client::connect(config).await?;
    let other = client.find_accounts(&[other]).await?.pop();
    let other = other.context("the other has never connected")?.id;

    let group = client.create_group("巡检", &[]).await?;
    client.add_members(group, &[other], Role::Observer).await?;
    let update = GroupUpdate {
        name: Some("夜间巡检".into()),
        set: [("zone".into(), "B 区".into())].into(),
        unset: vec![],
    };
    client.update_group(group, update).await?;
    client.send(group, content::text("今晚两圈")).await?;

    let told = client.group(group).await?;
    println!(
        "{} {:?}: {} members",
        told.name, told.attributes, told.members
    );
    let (members, _more) = client.members_page(group, None, 0).await?;
    for member in members {
        println!("  {} {:?}", member.account.name, member.role);
    }

    client.transfer_group(group, other).await?;
    client.leave(group).await?;
    println!("handed on, and left");
    client.close().await;
    Ok(())
}
