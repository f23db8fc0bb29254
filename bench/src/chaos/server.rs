//! Servers that are not ours, which a run starts for itself and the nemesis strikes: what it needs
//! of them. How each is started is not here.

use std::sync::Arc;

use nix::unistd::Pid;
use tokio::sync::Mutex;

/// One process on data of its own. It ends when this is dropped.
pub trait Server: std::fmt::Debug + Send {
    /// As the table calls it.
    fn name(&self) -> String;

    /// `None` while it does not run.
    fn pid(&self) -> Option<Pid>;

    /// kill -9, and the process is gone.
    fn kill(&mut self);

    /// Starts it again on the same data and port, and waits until it is ready. Blocks.
    ///
    /// # Errors
    /// When it ends instead.
    fn start(&mut self) -> anyhow::Result<()>;
}

/// A server that is used from two sides.
pub type Shared = Arc<Mutex<dyn Server>>;
