//! Progress display of a benchmark run.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::ProgressBar;

/// Spinner on standard error with the current step. Hidden if standard error is not a terminal.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    pub(super) fn show(&self, step: String) {
        tracing::debug!(step, "bench");
        self.bar.set_message(step);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
