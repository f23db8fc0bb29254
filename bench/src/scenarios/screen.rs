//! Progress bars, on a terminal only: a log is spared them.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often a bar is drawn, a second.
const FRAME: Duration = Duration::from_millis(200);

/// One stage of a run.
#[derive(Debug, Clone)]
pub struct Stage(ProgressBar);

impl Stage {
    /// Of so many steps.
    #[must_use]
    pub fn new(name: &'static str, steps: u64) -> Self {
        let bar = ProgressBar::new(steps).with_prefix(name);
        let form = "{prefix:<12} {wide_bar} {pos}/{len} {msg} {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(FRAME);
        Self(bar)
    }

    /// So many are done.
    pub fn at(&self, steps: u64) {
        self.0.set_position(steps);
    }

    /// What there is to say of it now.
    pub fn say(&self, words: String) {
        self.0.set_message(words);
    }

    /// It is over; nothing of it stays on the terminal.
    pub fn over(&self) {
        self.0.finish_and_clear();
    }
}
