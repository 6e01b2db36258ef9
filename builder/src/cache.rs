//! Where the builder keeps what it can get again: `$XDG_CACHE_HOME/countersign`, else `~/.cache/countersign`.
//!
//! ```text
//! inputs/DIGEST           locked inputs
//! environments/DIGEST/    read-only trees
//! environments/of-KEY     which tree certain inputs gave
//! host-digests            digests of unchanged files
//! apt/                    the package lists of the machine's apt
//! held                    locked by every run while it uses the cache, and by `cache prune` alone
//! */.new-* .scratch-* .spool-*  being made by a living process, which holds a lock on it; swept otherwise
//! ```
//!
//! The access time of an input or a tree is when a run last used it, set by that run: nothing that is built can see it.

mod stock;

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

pub use stock::{CacheError, Kept, Kind, list, prune, verify};

/// The cache directory; `None` where neither variable says.
pub fn dir() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    base.map(|base| base.join("countersign"))
}

/// The use of a cache: as long as it lives, nothing is pruned.
#[derive(Clone, Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "held, not read")] Arc<File>);

/// Holds a cache, which is there, together with whoever else does.
pub(crate) fn hold(cache: &Path) -> io::Result<Held> {
    let file = lock_file(cache)?;
    file.lock_shared()?;
    Ok(Held(Arc::new(file)))
}

fn lock_file(cache: &Path) -> io::Result<File> {
    File::options().create(true).append(true).open(cache.join("held"))
}

/// Remembers that this is used now. If that fails it is pruned early, and made again.
pub(crate) fn used(path: &Path) {
    let now = FileTimes::new().set_accessed(SystemTime::now());
    _ = File::open(path).and_then(|file| file.set_times(now));
}

/// When it was last used.
fn last_used(path: &Path) -> io::Result<SystemTime> {
    fs::symlink_metadata(path)?.accessed()
}
