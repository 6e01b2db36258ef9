//! Subvolumes: two calls of btrfs that no safe library wraps.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::check;

/// `struct btrfs_ioctl_vol_args_v2` of `linux/btrfs.h`.
#[repr(C)]
struct VolumeArgs {
    fd: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; NAME],
}

const NAME: usize = 4040;

/// `_IOW(0x94, number, struct btrfs_ioctl_vol_args_v2)`, the same on x86_64 and aarch64.
const fn request(number: u64) -> u64 {
    0x4000_0000 | ((size_of::<VolumeArgs>() as u64) << 16) | (0x94 << 8) | number
}

const SNAP_CREATE_V2: u64 = request(23);
const SUBVOL_CREATE_V2: u64 = request(24);

/// A new, empty subvolume `name` in the directory `into`.
pub(crate) fn create_subvolume(into: &File, name: &str) -> io::Result<()> {
    ask(SUBVOL_CREATE_V2, 0, into, name)
}

/// A writable snapshot `name` of the subvolume `source` in the directory `into`.
pub(crate) fn snapshot_subvolume(source: &File, into: &File, name: &str) -> io::Result<()> {
    ask(SNAP_CREATE_V2, i64::from(source.as_raw_fd()), into, name)
}

fn ask(request: u64, fd: i64, into: &File, name: &str) -> io::Result<()> {
    let plain = !name.is_empty() && name.len() < NAME && !name.contains(['/', '\0']);
    if !plain {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut args = VolumeArgs { fd, transaction: 0, flags: 0, unused: [0; 4], name: [0; NAME] };
    args.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: `into` is open, and the kernel reads 4096 bytes, which `args` is: two numbers of 8 bytes, flags, 32 bytes
    // unused and a name that ends with a zero. Other file systems answer ENOTTY and read nothing.
    let result = unsafe { libc::ioctl(into.as_raw_fd(), request as _, &raw const args) };
    check(result.into()).map(|_| ())
}

const _: () = assert!(size_of::<VolumeArgs>() == 4096);
