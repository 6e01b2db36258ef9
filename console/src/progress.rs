//! Progress of long work, on a terminal only.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::printable::printable;

/// A bar on standard error; nothing at all when that is not a terminal.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar over `bytes` of known length.
    pub fn bytes(what: &str, bytes: u64) -> Self {
        Self::shown(
            ProgressBar::new(bytes),
            what,
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        )
    }

    /// A spinner for work whose length is not known, with the time it has taken.
    pub fn spinner(what: &str) -> Self {
        let this = Self::shown(ProgressBar::new_spinner(), what, "{spinner} {msg} {elapsed}");
        this.0.enable_steady_tick(Duration::from_millis(120));
        this
    }

    fn shown(bar: ProgressBar, what: &str, template: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(printable(what).into_owned());
        Self(bar)
    }

    /// Moves the bar on by `amount`.
    pub fn add(&self, amount: u64) {
        self.0.inc(amount);
    }

    /// Says what is being done now.
    pub fn now(&self, what: &str) {
        self.0.set_message(printable(what).into_owned());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
