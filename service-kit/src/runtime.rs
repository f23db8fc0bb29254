//! The async runtime of a process, with as many threads as its work is good for.

use std::io;
use std::num::NonZeroUsize;

use tokio::runtime::{Builder, Runtime};

use crate::config::RuntimeConfig;

/// What a process does most of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// It has many connections, each of which can be served apart.
    Connections,
    /// It passes messages on over a few links, in order. Where a second thread is idle it takes the
    /// first of several messages on alone, and each tier after that handles, writes and syncs twice.
    Passing,
}

/// Builds it.
///
/// # Errors
/// When the system gives no threads.
pub fn build(config: &RuntimeConfig, work: Work) -> io::Result<Runtime> {
    let threads = match usize::from(config.worker_threads) {
        0 => automatic(work, std::thread::available_parallelism()?),
        set => set,
    };
    Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}

fn automatic(work: Work, cores: NonZeroUsize) -> usize {
    match work {
        Work::Connections => cores.get(),
        Work::Passing => cores.get().div_ceil(4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_thread() {
        let of = |work, cores| automatic(work, NonZeroUsize::new(cores).unwrap());
        assert_eq!(
            [1, 2, 4, 8].map(|cores| of(Work::Passing, cores)),
            [1, 1, 1, 2]
        );
        assert_eq!(
            [1, 2, 8].map(|cores| of(Work::Connections, cores)),
            [1, 2, 8]
        );
    }

    #[test]
    fn what_is_set_holds() {
        let config = RuntimeConfig { worker_threads: 3 };
        let runtime = build(&config, Work::Passing).unwrap();
        assert_eq!(runtime.metrics().num_workers(), 3);
    }
}
