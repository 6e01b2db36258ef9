//! Where the builder keeps what it can get again: `$XDG_CACHE_HOME/countersign`, else `~/.cache/countersign`.
//!
//! ```text
//! inputs/DIGEST           locked inputs
//! environments/DIGEST/    read-only trees
//! host-digests            digests of unchanged files
//! */.new-* .scratch-* .spool-*  being made by a living process, which holds a lock on it; swept otherwise
//! ```

use std::path::PathBuf;

/// The cache directory; `None` where neither variable says.
pub fn dir() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    base.map(|base| base.join("countersign"))
}
