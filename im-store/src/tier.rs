//! The store's tasks, wired over its database, whichever engine that has. Not here: the end of the
//! process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use service_kit::admin::Readiness;
use service_kit::clock;
use service_kit::drain::Drain;
use service_kit::peers::{self, PeersConfig};
use service_kit::rpc;
use tokio::net::TcpListener;

use crate::command_service::Commands;
use crate::config::Database;
use crate::engine::{Engine, EngineError, Readers};
use crate::generation::Generation;
use crate::mysql::{MySqlEngine, MySqlReaders};
use crate::retention::Retention;
use crate::service::Service;
use crate::sqlite::{Owner, SqliteEngine, SqliteReaders};
use crate::stream::Ownership;
use crate::{desk, indexing, marks, reports, stream, upkeep, writer};

/// The ends of the store's links, and what it keeps.
pub struct Wiring {
    /// Whom it tells of every commit.
    pub routers: PeersConfig,
    /// Which of the stores it is.
    pub ownership: Ownership,
    /// Where logic reaches it.
    pub listener: TcpListener,
    /// How it proves itself there.
    pub server_tls: Arc<ServerConfig>,
    /// What it keeps of each conversation.
    pub retention: Retention,
    /// How often it drops the rest.
    pub sweep_interval: Duration,
    /// How often it indexes words; `None`: never.
    pub index_interval: Option<Duration>,
}

/// What remains to be done after the drain: the readers' connections are closed.
pub type Close = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens the database and starts the tasks; they end with the drain.
///
/// # Errors
/// When the database cannot be opened, or is not ours.
pub async fn start(
    database: &Database,
    wiring: Wiring,
    drain: &Drain,
) -> Result<Close, EngineError> {
    match database {
        Database::Sqlite(path) => {
            // One store owns the file; the others stand by.
            let owner = Owner::wait(path).await?;
            let engine = SqliteEngine::open(path).await?;
            let readers = SqliteReaders::open(path).await?;
            let close = wire(engine, readers, wiring, drain).await?;
            Ok(Box::pin(async move {
                close.await;
                drop(owner);
            }))
        }
        Database::MySql(address) => {
            let engine = MySqlEngine::open(address).await?;
            let readers = MySqlReaders::open(address);
            wire(engine, readers, wiring, drain).await
        }
    }
}

async fn wire<E: Engine, R: Readers>(
    engine: E,
    readers: R,
    wiring: Wiring,
    drain: &Drain,
) -> Result<Close, EngineError> {
    let generation = Generation(readers.generation().await?);
    // A router that is away keeps nobody from storing.
    let gate = Readiness::new().gate("im-router");
    let routers = peers::open(wiring.routers, gate, drain);
    let (sink, commits) = stream::new();
    let noted = sink.noted();
    let (writer, writing) = writer::new(engine, sink);
    let (mark_sink, marking) = marks::new();
    let (report_sink, reporting) = reports::new();
    let (desk_sink, desk) = desk::new();
    drain.spawn(writing.run(clock::unix_ms));
    drain.spawn(reporting.run(writer.clone(), desk_sink.clone()));
    drain.spawn(desk.run(
        readers.clone(),
        writer.clone(),
        routers.0.clone(),
        wiring.ownership.clone(),
        drain.clone(),
    ));
    drain.spawn(commits.run(readers.clone(), routers, wiring.ownership, drain.clone()));
    drain.spawn(marking.run(writer.clone()));
    drain.spawn(upkeep::run(
        wiring.retention,
        wiring.sweep_interval,
        readers.clone(),
        writer.clone(),
        clock::unix_ms,
        drain.clone(),
    ));
    if let Some(every) = wiring.index_interval {
        let (readers, writer) = (readers.clone(), writer.clone());
        drain.spawn(indexing::run(noted, every, readers, writer, drain.clone()));
    }
    let commands = Commands::new(writer.clone(), readers.clone(), report_sink, desk_sink);
    let service = Service::new(writer, readers.clone(), mark_sink, generation, commands);
    let service = Arc::new(service);
    let (listener, tls) = (wiring.listener, wiring.server_tls);
    drain.spawn(rpc::serve(
        listener,
        tls,
        &["im-logic"],
        service,
        drain.clone(),
    ));
    Ok(Box::pin(async move { readers.close().await }))
}
