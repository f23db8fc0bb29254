//! The two engines as the contract suite sees them: an empty database that can be opened any
//! number of times.

use std::marker::PhantomData;

use im_store::cache::{Cache, Kept};
use im_store::config::Database;
use im_store::engine::{Engine, EngineError, Readers};
use im_store::mysql::{Address, MySqlEngine, MySqlReaders};
use im_store::sqlite::{SqliteEngine, SqliteReaders};
use im_store::testing::MariaDb;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use tempfile::TempDir;

/// An engine, and an empty database for it.
pub(crate) trait Backend: Sized + Sync {
    type Engine: Engine;
    type Readers: Readers;
    /// What its writers remember.
    type Cache: Cache + Default;

    /// Makes it.
    async fn start() -> Self;

    /// What the store's configuration calls it.
    fn database(&self) -> Database;

    async fn try_engine(&self) -> Result<Self::Engine, EngineError>;

    async fn readers(&self) -> Self::Readers;

    /// Runs statements beside the store, as an administrator would.
    async fn execute(&self, sql: &str);

    /// Sets the version of the schema that the database says it has.
    async fn set_version(&self, version: i64);

    /// Makes the tables as the first release did.
    async fn make_first_version(&self);

    async fn engine(&self) -> Self::Engine {
        self.try_engine().await.unwrap()
    }
}

/// A file.
pub(crate) struct Sqlite {
    folder: TempDir,
}

impl Sqlite {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("s.db")
    }
}

impl Backend for Sqlite {
    type Engine = SqliteEngine;
    type Readers = SqliteReaders;
    type Cache = Kept;

    async fn start() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn database(&self) -> Database {
        Database::Sqlite(self.path())
    }

    async fn try_engine(&self) -> Result<SqliteEngine, EngineError> {
        SqliteEngine::open(&self.path()).await
    }

    async fn readers(&self) -> SqliteReaders {
        SqliteReaders::open(&self.path()).await.unwrap()
    }

    async fn execute(&self, sql: &str) {
        let url = format!("sqlite://{}?mode=rwc", self.path().display());
        let mut session = SqliteConnection::connect(&url).await.unwrap();
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut session).await.unwrap();
        session.close().await.unwrap();
    }

    async fn set_version(&self, version: i64) {
        self.execute(&format!("PRAGMA user_version = {version}"))
            .await;
    }

    async fn make_first_version(&self) {
        self.execute(include_str!("../../src/sqlite/schema/1.sql"))
            .await;
        self.execute("PRAGMA application_id = 1229804372; PRAGMA user_version = 1")
            .await;
    }
}

/// A server of its own.
pub(crate) struct MySql {
    pub(crate) server: MariaDb,
}

impl MySql {
    pub(crate) fn address(&self) -> Address {
        self.server.url("im").parse().unwrap()
    }
}

impl Backend for MySql {
    type Engine = MySqlEngine;
    type Readers = MySqlReaders;
    type Cache = Kept;

    async fn start() -> Self {
        Self {
            server: MariaDb::start().await.unwrap(),
        }
    }

    fn database(&self) -> Database {
        Database::MySql(self.address())
    }

    async fn try_engine(&self) -> Result<MySqlEngine, EngineError> {
        MySqlEngine::open(&self.address()).await
    }

    async fn readers(&self) -> MySqlReaders {
        MySqlReaders::open(&self.address())
    }

    async fn execute(&self, sql: &str) {
        self.server.execute_on("im", sql).await.unwrap();
    }

    async fn set_version(&self, version: i64) {
        self.execute(&format!("INSERT INTO im_store_schema VALUES ({version})"))
            .await;
    }

    async fn make_first_version(&self) {
        make_first_version_of_mysql(self).await;
    }
}

pub(crate) async fn make_first_version_of_mysql(backend: &impl Backend) {
    let versions = "CREATE TABLE im_store_schema (version BIGINT NOT NULL PRIMARY KEY)";
    backend.execute(versions).await;
    let tables = include_str!("../../src/mysql/schema/1.sql");
    backend.execute(tables).await;
    backend.set_version(1).await;
}

/// A backend whose writers have another memory.
pub(crate) struct With<B, C>(B, PhantomData<fn() -> C>);

impl<B: Backend, C: Cache + Default> Backend for With<B, C> {
    type Engine = B::Engine;
    type Readers = B::Readers;
    type Cache = C;

    async fn start() -> Self {
        Self(B::start().await, PhantomData)
    }

    fn database(&self) -> Database {
        self.0.database()
    }

    async fn try_engine(&self) -> Result<B::Engine, EngineError> {
        self.0.try_engine().await
    }

    async fn readers(&self) -> B::Readers {
        self.0.readers().await
    }

    async fn execute(&self, sql: &str) {
        self.0.execute(sql).await;
    }

    async fn set_version(&self, version: i64) {
        self.0.set_version(version).await;
    }

    async fn make_first_version(&self) {
        self.0.make_first_version().await;
    }
}
