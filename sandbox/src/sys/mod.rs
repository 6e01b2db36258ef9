//! The kernel's calls that no safe library wraps: with `clock/`, all `unsafe` of the house is below here.

mod btrfs;
mod filter;
mod mount;
mod notice;
mod packet;
mod process;
mod refused;
mod tasks;
mod xattr;

pub(crate) use btrfs::{create_subvolume, snapshot_subvolume};
pub(crate) use filter::{install_seccomp, seccomp_available};
pub(crate) use mount::{Detached, FsContext};
pub(crate) use notice::{
    Answer, answer_notice, install_and_pass, listen_synchronously, notice_is_valid,
    notices_available, receive_notice, say,
};
pub(crate) use packet::{attach_filter, close_unwaited, packet_drops};
pub(crate) use process::{
    Fork, close_from, close_on_exec_from, default_signals, disable_aslr, drop_ambient,
    drop_bounding, fork, lock_securebits, one_heap, out_of_the_way, own, place, set_capabilities,
    set_domain_name,
};
pub(crate) use refused::{foreign_call, keyctl_nothing};
pub(crate) use tasks::{Disk, descriptor_of, disk_of, read_memory, socket_kind, write_memory};

pub(crate) use xattr::takes_user_attributes;

use std::io;

/// The result of a raw system call.
fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
