//! ejabberd: rooms with an archive in a MariaDB server of its own.
//!
//! It runs as one Erlang node without a name, so that it needs no port mapper that others share.

use std::path::Path;

use anyhow::{Context as _, ensure};
use im_store::testing::MariaDb;
use tokio::process::Command;

use super::place::Place;
use super::process::Process;
use super::xmpp::account;
use super::{Clients, Server, Settings, Shape};

const TEMPLATE: &str = include_str!("../../peers/ejabberd.yml");

/// The tables of the database, as the package brings them.
const SCHEMA: &str = "/usr/share/ejabberd/sql/mysql.sql";

/// Where Debian puts libraries of Erlang.
const LIBRARIES: &str = "/usr/lib/erlang/lib";

/// The library by which ejabberd speaks to MariaDB, followed by its version.
const DRIVER: &str = "p1_mysql-";

/// Of every account, and of the database's user: nothing here is worth a secret.
const PASSWORD: &str = "peer";

/// What the database server is told on top: caches that hold a run, so that it does not wait for
/// pages to be written. A commit is still on the disk before it is acknowledged.
const DATABASE: [&str; 3] = [
    "--innodb-buffer-pool-size=512M",
    "--innodb-log-file-size=512M",
    "--max-connections=200",
];

/// Connections that the virtual machine of Erlang has room for.
const PORTS_MAX: &str = "262144";

/// Accounts in one statement.
const ACCOUNTS_AT_ONCE: usize = 1000;

/// Starts one with an account for every client. The first who enters a room makes it.
///
/// # Errors
/// When Debian's `ejabberd`, `erlang-p1-mysql` or `mariadb-server` is not installed, or does not
/// start.
pub async fn start(settings: Settings, shape: &Shape) -> anyhow::Result<Server> {
    ensure!(
        settings == Settings::Default,
        "ejabberd's archive is always synced"
    );
    has_driver()?;
    let database = database(shape.clients()).await?;
    let place = Place::new()?;
    let sql_port = database.port().to_string();
    let more = [("SQL_PORT", &sql_port[..]), ("SQL_PASSWORD", PASSWORD)];
    let config = place.configure("ejabberd.yml", TEMPLATE, &more)?;
    let command = command(&config, place.path());
    let mut process = Process::start(command, "ejabberd", &place.path().join("log"))?;
    process.listens(place.address()).await?;
    let password = PASSWORD.to_owned();
    let database_pid = database.pid().context("the database has ended")?;
    Ok(Server {
        durable: true,
        pids: vec![process.pid(), database_pid],
        target: place.target(Clients::Xmpp { password }),
        keeps: Box::new((process, database, place)),
    })
}

/// Without it ejabberd starts, and nobody can log in.
fn has_driver() -> anyhow::Result<()> {
    let installed = std::fs::read_dir(LIBRARIES).map(|libraries| {
        let mut names = libraries.flatten().map(|library| library.file_name());
        names.any(|name| name.as_encoded_bytes().starts_with(DRIVER.as_bytes()))
    });
    ensure!(
        installed.unwrap_or(false),
        "no {DRIVER}* in {LIBRARIES}: apt-get install ejabberd erlang-p1-mysql"
    );
    Ok(())
}

/// As `ejabberdctl foreground` starts it, but for the name of the node.
fn command(config: &Path, folder: &Path) -> Command {
    let mut command = Command::new("erl");
    let libraries = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mnesia = format!("\"{}\"", folder.join("mnesia").display());
    command
        .args(["-noinput", "-s", "ejabberd", "-mnesia", "dir", &mnesia])
        .args(["+P", PORTS_MAX, "+Q", PORTS_MAX])
        .env("EJABBERD_CONFIG_PATH", config)
        .env("EJABBERD_LOG_PATH", folder.join("ejabberd.log"))
        .env("ERL_LIBS", libraries)
        .env("ERL_CRASH_DUMP_BYTES", "0")
        .env("HOME", folder)
        .current_dir(folder);
    command
}

/// A database with ejabberd's tables and so many accounts.
async fn database(accounts: usize) -> anyhow::Result<MariaDb> {
    let schema = std::fs::read_to_string(SCHEMA)
        .with_context(|| format!("cannot read {SCHEMA}: apt-get install ejabberd"))?;
    let mut database = MariaDb::start().await?;
    database.restart(&DATABASE).await?;
    let user = format!(
        "CREATE DATABASE ejabberd; CREATE USER ejabberd IDENTIFIED BY '{PASSWORD}'; \
         GRANT ALL ON ejabberd.* TO ejabberd"
    );
    database.execute_on("mysql", &user).await?;
    database.execute_on("ejabberd", &schema).await?;
    let accounts: Vec<_> = (0..accounts)
        .map(|client| format!("('{}', '{PASSWORD}')", account(client)))
        .collect();
    for some in accounts.chunks(ACCOUNTS_AT_ONCE) {
        let rows = some.join(", ");
        let insert = format!("INSERT INTO users (username, password) VALUES {rows}");
        database.execute_on("ejabberd", &insert).await?;
    }
    Ok(database)
}
