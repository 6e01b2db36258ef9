//! The remembering disk as a block device with a real file system on it: FUSE below a loop device below ext4 or xfs.
//!
//! The kernel's own file system decides which block is written when, and what it flushes; nothing of that is imitated.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite,
    Request, WriteFlags,
};

use crate::clients::until;
use crate::disk::{Image, Op};

/// Bytes: the smallest that xfs takes. Only what is written takes memory.
const SIZE: u64 = 320 << 20;

const FILE: INodeNo = INodeNo(2);
const FOR_EVER: Duration = Duration::from_secs(86_400);

#[derive(Clone, Default)]
pub(crate) struct Recorded(Arc<Mutex<(Image, Vec<Op>)>>);

impl Recorded {
    pub(crate) fn new(image: Image) -> Self {
        Self(Arc::new(Mutex::new((image, Vec::new()))))
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    /// The disk as it is, and what was done to it since it was made.
    pub(crate) fn into_parts(self) -> (Image, Vec<Op>) {
        self.0.lock().unwrap().clone()
    }
}

/// One directory with one file, `disk`.
struct Device(Recorded);

fn attributes(ino: INodeNo) -> FileAttr {
    let root = ino == INodeNo::ROOT;
    FileAttr {
        ino,
        size: if root { 0 } else { SIZE },
        blocks: if root { 0 } else { SIZE / 512 },
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if root { FileType::Directory } else { FileType::RegularFile },
        perm: if root { 0o700 } else { 0o600 },
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 4096,
    }
}

impl Filesystem for Device {
    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str() {
            Some("disk") => reply.entry(&FOR_EVER, &attributes(FILE), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &attributes(ino));
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let length = u64::from(size).min(SIZE.saturating_sub(offset));
        reply.data(&self.0.0.lock().unwrap().0.read(offset, usize::try_from(length).unwrap()));
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut recorded = self.0.0.lock().unwrap();
        recorded.0.write(offset, data);
        recorded.1.push(Op::Write(offset, data.to_vec()));
        reply.written(u32::try_from(data.len()).unwrap());
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.0.0.lock().unwrap().1.push(Op::Flush);
        reply.ok();
    }
}

/// A mounted file system on a recorded disk. Dropped, it is unmounted in good order.
pub(crate) struct Mounted {
    at: PathBuf,
    below: PathBuf,
    session: Option<BackgroundSession>,
}

impl Mounted {
    /// `directory` is for the two mount points, `kind` is `ext4` or `xfs`; `format` makes the file system first.
    pub(crate) fn new(directory: &Path, recorded: &Recorded, kind: &str, format: bool) -> Self {
        let (below, at) = (directory.join("device"), directory.join("mounted"));
        std::fs::create_dir_all(&below).unwrap();
        std::fs::create_dir_all(&at).unwrap();
        let session =
            fuser::spawn_mount(Device(recorded.clone()), &below, &Config::default()).unwrap();
        let disk = below.join("disk");
        // Copies of one xfs are mounted side by side.
        let (quietly, options) = match kind {
            "xfs" => (["-q", "-f"], "loop,noatime,nouuid"),
            _ => (["-q", "-F"], "loop,noatime"),
        };
        if format {
            must(Command::new(format!("mkfs.{kind}")).args(quietly).arg(&disk));
        }
        let mount = || {
            let mut mount = Command::new("mount");
            mount.args(["-o", options]).arg(&disk).arg(&at);
            mount
        };
        if !mount().output().unwrap().status.success() {
            // A write that is torn inside a block of its own journal may need what any machine does when it starts.
            let checked = Command::new("e2fsck").arg("-fy").arg(&disk).output().unwrap();
            assert!(checked.status.code().is_some_and(|code| code < 4), "{checked:?}");
            must(&mut mount());
        }
        Self { at, below, session: Some(session) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        must(Command::new("umount").arg(&self.at));
        // The loop device lets go of its file a moment after the file system above it is gone.
        until(|| Command::new("umount").arg(&self.below).output().unwrap().status.success());
        if let Some(session) = self.session.take() {
            session.join().unwrap();
        }
        assert!(std::fs::read_dir(&self.below).is_ok(), "the mount point is left");
    }
}

pub(crate) fn must(command: &mut Command) {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
