//! The progress bar of a command that takes long.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A command that is done earlier shows no bar.
const DELAY: Duration = Duration::from_millis(500);

/// A progress bar on stderr, if that is a terminal. It appears after [`DELAY`] and disappears at the end.
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Instant,
    done: usize,
}

impl Progress {
    /// Starts a bar for this number of `what`, for example `recordings`.
    pub(crate) fn new(number: usize, what: &str) -> Self {
        // Hidden unless stderr is a terminal.
        let bar = ProgressBar::new(number as u64);
        if let Ok(style) = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {what}, {{eta}} left")) {
            bar.set_style(style);
        }
        Self {
            bar,
            start: Instant::now(),
            done: 0,
        }
    }

    /// Says that one more is done.
    pub(crate) fn advance(&mut self) {
        self.set(self.done + 1);
    }

    /// Says how many are done.
    pub(crate) fn set(&mut self, done: usize) {
        self.done = done;
        if self.start.elapsed() >= DELAY {
            self.bar.set_position(done as u64);
        }
    }

    /// Sets how many there are in all.
    pub(crate) fn set_number(&self, number: usize) {
        if self.bar.length() != Some(number as u64) {
            self.bar.set_length(number as u64);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
