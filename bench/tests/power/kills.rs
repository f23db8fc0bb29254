//! Kills of the store at random moments, again and again on the same file. Those of a robot with
//! its journal are client-sdk's own (`tests/e2e/power.rs`).

use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::child::{self, Orders, Task};
use crate::store;
use crate::trace::WORDS;

const KILLS: u32 = 200;

/// Kills on one file, which is read as a whole after each.
const KILLS_A_FILE: u32 = 25;

/// Numbers of one life.
const NUMBERS: u32 = 100_000;

/// A kill comes at most so long after the first ack; one in five, so long after the start.
const LATER_MAX: Duration = Duration::from_millis(30);

/// Nothing takes longer unless it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// One life, and its end.
async fn kill(life: u32, folder: &Path) {
    let mut random = SmallRng::seed_from_u64(life.into());
    let orders = Orders {
        task: Task::Store,
        folder: folder.into(),
        first: 1 + life * NUMBERS,
        count: NUMBERS,
    };
    let mut process = orders.command().spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    if random.random_ratio(4, 5) {
        let up = async { while !child::is_up(&lines.next_line().await.unwrap().unwrap()) {} };
        timeout(PATIENCE, up).await.unwrap();
    }
    let moment = random.random_range(Duration::ZERO..LATER_MAX);
    let ended = async {
        while lines.next_line().await.unwrap().is_some() {}
        process.wait().await
    };
    let ended = timeout(moment, ended).await;
    assert!(ended.is_err(), "it ended by itself: {ended:?}");
    process.kill().await.unwrap();
}

fn words(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join(WORDS)).unwrap_or_default();
    // The kill may have cut the last one short.
    let end = text.rfind('\n').map_or(0, |last| last + 1);
    text[..end].to_owned()
}

#[tokio::test]
async fn a_store_that_is_killed_again_and_again_has_everything_acknowledged() {
    let mut acknowledged = 0;
    for first in (0..KILLS).step_by(KILLS_A_FILE as usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut said = store::Said::default();
        for life in first..first + KILLS_A_FILE {
            kill(life, folder.path()).await;
            said = store::Said::of(words(folder.path()).lines());
            assert_eq!(said.judge(folder.path()).await, [""; 0], "life {life}");
        }
        acknowledged += said.acknowledged();
    }
    assert!(acknowledged > KILLS as usize, "{acknowledged}");
}
