//! Losses of power and kills, of the store and of the robot's journal.
//!
//! A small real process writes through the real engine under strace. Its trace says what was
//! written and synced, and when what was acknowledged. At many points of it the files are rebuilt
//! as a loss of power would have left them, opened with the real engine, and judged. The store's
//! process is killed again and again, too. Controls show that the judgement sees a disk that is not
//! synced.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod child;
mod cuts;
mod disk;
mod journal;
mod kills;
mod store;
mod trace;
