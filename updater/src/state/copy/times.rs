//! What is known of a source file, and when it proves that its bytes are the same.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// Whatever changed within this time before it was read may change again without showing it.
const GRAIN: Duration = Duration::from_secs(1);

/// What is known of a source file: if all of it is the same, so are its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Times {
    inode: u64,
    device: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Read so shortly after a change that the next change may look the same.
    pub(super) fresh: bool,
}

impl Times {
    pub(super) fn of(meta: &Metadata) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let limit = i64::try_from((now.saturating_sub(GRAIN)).as_nanos()).unwrap_or(i64::MAX);
        let nanos = |(s, n): (i64, i64)| s.saturating_mul(1_000_000_000).saturating_add(n);
        let modified = (meta.mtime(), meta.mtime_nsec());
        let changed = (meta.ctime(), meta.ctime_nsec());
        Self {
            inode: meta.ino(),
            device: meta.dev(),
            length: meta.len(),
            modified,
            changed,
            fresh: nanos(modified).max(nanos(changed)) >= limit,
        }
    }

    pub(super) fn proves_unchanged(&self, now: &Self) -> bool {
        !self.fresh && Self { fresh: false, ..*self } == Self { fresh: false, ..*now }
    }

    pub(super) fn moved(&self, before: &Self) -> bool {
        (self.length, self.modified, self.changed)
            != (before.length, before.modified, before.changed)
    }
}
