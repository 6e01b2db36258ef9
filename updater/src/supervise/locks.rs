//! The store's own locks: after the node's last process has ended, whoever else may still hold them.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};

/// The first of `locks`, which lie below `state`, that somebody holds; by `flock` or by `fcntl`. A file that is not
/// there, or cannot be opened, is locked by nobody that could be asked.
pub(super) fn held(state: &Path, locks: &[String]) -> Option<PathBuf> {
    locks.iter().map(|lock| state.join(lock)).find(|path| {
        // Nothing is waited for or kept: both locks go with the file at the end of this look.
        File::options().read(true).write(true).open(path).is_ok_and(|file| is_held(&file))
    })
}

fn is_held(file: &File) -> bool {
    if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
        return true;
    }
    let narrow = |kind: i32| i16::try_from(kind).unwrap_or(0);
    let mut wanted = flock {
        l_type: narrow(F_WRLCK),
        l_whence: narrow(SEEK_SET),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    let asked = fcntl(file, FcntlArg::F_OFD_GETLK(&mut wanted));
    asked.is_ok() && wanted.l_type != narrow(F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_both_kinds_are_seen_and_what_is_missing_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["LOCK".to_owned(), "missing".to_owned()];
        let path = dir.path().join("LOCK");
        let file = File::create(&path).unwrap();
        assert_eq!(held(dir.path(), &names), None);
        file.lock().unwrap();
        assert_eq!(held(dir.path(), &names), Some(path.clone()));
        file.unlock().unwrap();
        assert_eq!(held(dir.path(), &names), None);
        let narrow = |kind: i32| i16::try_from(kind).unwrap();
        let wanted = flock {
            l_type: narrow(F_WRLCK),
            l_whence: narrow(SEEK_SET),
            l_start: 0,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_OFD_SETLK(&wanted)).unwrap();
        assert_eq!(held(dir.path(), &names), Some(path));
        drop(file);
        assert_eq!(held(dir.path(), &names), None);
    }
}
