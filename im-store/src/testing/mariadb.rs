//! A MariaDB server of its own, with an empty database `im`.

use std::io;
use std::net::Ipv4Addr;

use nix::sys::signal::Signal;
use sqlx::{Connection as _, MySqlConnection};

use super::server::{self, READY, Server, free_port, installed};

/// A running server. Every start is over the same data and port.
pub struct MariaDb {
    server: Server,
    port: u16,
}

impl MariaDb {
    /// Starts one.
    ///
    /// # Errors
    /// When Debian's `mariadb-server` is not installed, or does not start.
    pub async fn start() -> io::Result<Self> {
        let port = free_port(Ipv4Addr::LOCALHOST)?;
        let settings = vec![
            format!("--port={port}"),
            format!("--bind-address={}", Ipv4Addr::LOCALHOST),
        ];
        let server = Server::new(&installed().await?, settings)?;
        let mut started = Self { server, port };
        started.restart(&[]).await?;
        let made = started.execute_on("mysql", "CREATE DATABASE im").await;
        made.map_err(io::Error::other)?;
        Ok(started)
    }

    /// The address of a database on it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.server.pid()
    }

    /// Runs statements in a session of its own, as an administrator would.
    ///
    /// # Errors
    /// When one of them fails.
    pub async fn execute_on(&self, database: &str, sql: &str) -> Result<(), sqlx::Error> {
        server::execute(&self.url(database), sql).await
    }

    /// A session of its own.
    ///
    /// # Errors
    /// When the server takes none.
    pub async fn session(&self, database: &str) -> Result<MySqlConnection, sqlx::Error> {
        MySqlConnection::connect(&self.url(database)).await
    }

    /// kill -9.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.server.kill().await
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> io::Result<()> {
        self.server.signal(Signal::SIGSTOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn go_on(&self) -> io::Result<()> {
        self.server.signal(Signal::SIGCONT)
    }

    /// kill -9, and a new start with these settings on top.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self, settings: &[&str]) -> io::Result<()> {
        self.server.start(settings, READY).await
    }
}
