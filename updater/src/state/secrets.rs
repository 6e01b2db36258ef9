//! What of a data directory is secret: it enters no shadow, and leaves this machine encrypted only.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use countersign_metadata::node::StatePath;

use crate::generation::Generation;

/// Paths below a data directory, each with everything below it. The local snapshots hold them (mode 0700).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(Vec<StatePath>);

impl Secrets {
    /// Nothing is secret.
    pub fn none() -> Self {
        Self::default()
    }

    /// The secret paths of a generation, as its release declares them.
    pub fn of(generation: &Generation) -> Self {
        Self(generation.launch.secrets.clone())
    }

    /// These, and the ones that another release declares: what either calls secret is.
    #[must_use]
    pub fn and(mut self, more: impl IntoIterator<Item = StatePath>) -> Self {
        self.0.extend(more);
        self.0.sort();
        self.0.dedup();
        self
    }

    /// The paths as they were declared.
    pub fn paths(&self) -> &[StatePath] {
        &self.0
    }

    /// Whether a path, relative to the data directory, is one of them or below one.
    pub fn cover(&self, path: &Path) -> bool {
        self.0.iter().any(|secret| secret.covers(path.as_os_str().as_bytes()))
    }
}
