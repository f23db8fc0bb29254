//! Private database servers for tests: MariaDB alone, and a Galera cluster of three. From Debian's
//! packages, each with folders and ports of its own, and killed on drop.
//!
//! Behind the feature `testing`, so that no process carries it. Not here: what is tested.

mod galera;
mod mariadb;
mod server;

pub use galera::{Galera, NODES};
pub use mariadb::MariaDb;
