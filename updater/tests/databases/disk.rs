//! A file system of a kind in a file, mounted for as long as the test lasts.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of each.
const SIZE: u64 = 1 << 30;

/// A mounted file system.
pub(crate) struct Disk {
    dir: tempfile::TempDir,
    pub(crate) kind: &'static str,
    mounted: bool,
}

impl Disk {
    /// Makes and mounts a file system. As a plain user, who may not mount: a directory of the present one.
    pub(crate) fn new(kind: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        let mounted = nix::unistd::Uid::effective().is_root();
        let this = Self { dir, kind: if mounted { kind } else { "here" }, mounted };
        if mounted {
            let image = this.dir.path().join("image");
            std::fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
            must(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image));
            must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(this.path()));
        }
        this
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // Lazily: what fails beside it shall be told, not this.
            let _told = Command::new("umount").arg("-l").arg(self.path()).status();
        }
    }
}

/// Copies a directory as a person would who does not know better.
pub(crate) fn copy_unfrozen(from: &Path, to: &Path) {
    let _vanished = Command::new("cp").args(["-r", "--reflink=never"]).arg(from).arg(to).output();
}

pub(crate) fn remove(path: &Path) {
    must(Command::new("rm").arg("-rf").arg(path));
}

fn must(command: &mut Command) {
    let ended = command.output().unwrap();
    assert!(ended.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ended.stderr));
}
