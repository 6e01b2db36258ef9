//! Lower directories: looked through before and after, and as root shown with another owner.
//!
//! A user namespace says how the owners on the disk are seen through a mount. Nobody ever runs in it: a child
//! makes it, its maps are written, and only a descriptor of it is kept.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::stat;
use nix::sys::wait::waitpid;

use super::ids::Ids;
use super::keeper::write_maps;
use super::owner::{Beyond, door, is_a_door, walk};
use crate::capability::{ID_MAP, OVERLAY};
use crate::error::{Failure, Kind, Staged, Step};
use crate::options::Mount;
use crate::spec::Plan;
use crate::sys::{self, Fork};

/// Owners beside the directory's own are seen as these: no process ever runs as one.
const OTHERS: u32 = 0x6fff_0000;

/// The kernel takes a page of map, and a state with more owners than this is none.
const MOST_OWNERS: usize = 100;

/// Users or groups that own something below a directory; the directory's own first.
type Owners = Vec<u32>;

/// Looks through all lower directories. As root, returns the id map of each, for the payload's kernel user.
pub(super) fn prepare(plan: &Plan, ids: &Ids) -> Staged<Vec<OwnedFd>> {
    let mut maps = Vec::new();
    for (lower, work) in overlays(plan) {
        let name = lower.display().to_string();
        let (users, groups) = look_through(lower).fail(Kind::Mount, name.as_str())?;
        if users.len().max(groups.len()) > MOST_OWNERS {
            let reason = format!("the files of {name} have more than {MOST_OWNERS} owners");
            return Err(Failure::missing(ID_MAP, reason));
        }
        let empty = fs::read_dir(work).map(|mut entries| entries.next().is_none());
        if !empty.fail(Kind::Mount, work.display().to_string())? {
            return Err(io::Error::from(io::ErrorKind::DirectoryNotEmpty))
                .fail(Kind::Mount, work.display().to_string());
        }
        match *ids {
            Ids::Private { payload, .. } => {
                let map = namespace(&seen_as(&users, payload), &seen_as(&groups, payload));
                maps.push(map.map_err(|error| Failure::missing(ID_MAP, error.to_string()))?);
            }
            // To change such a file is to copy it with its owner, who means nothing in a user namespace.
            Ids::Caller { uid, gid } if users != [uid] || groups != [gid] => {
                let reason = format!(
                    "not all in {name} belongs to this user ({uid}) and its group ({gid}), as above it would have to"
                );
                return Err(Failure::missing(OVERLAY, reason));
            }
            Ids::Caller { .. } => {}
        }
    }
    Ok(maps)
}

/// A door that somebody opened in a lower directory meanwhile may have been used.
pub(super) fn check_after(plan: &Plan) -> Staged<()> {
    for (lower, _) in overlays(plan) {
        look_through(lower).fail(Kind::Mount, lower.display().to_string())?;
    }
    Ok(())
}

/// Empties the work directories, in which the kernel leaves a directory that nobody may enter.
pub(super) fn clean(plan: &Plan) {
    for (_, work) in overlays(plan) {
        let left = work.join("work");
        // What cannot be removed is found by whoever uses the directory next.
        _ = fs::set_permissions(&left, Permissions::from_mode(0o700));
        _ = fs::remove_dir_all(&left);
    }
}

fn overlays(plan: &Plan) -> impl Iterator<Item = (&Path, &Path)> {
    plan.mounts.iter().filter_map(|mount| match mount {
        Mount::Overlay { lower, work, .. } => Some((lower.as_path(), work.as_path())),
        _ => None,
    })
}

/// Refuses what leads elsewhere, and collects who owns what.
fn look_through(lower: &Path) -> io::Result<(Owners, Owners)> {
    let top = stat(lower)?;
    let (mut users, mut groups) = (BTreeSet::new(), BTreeSet::new());
    walk(lower, Beyond::Too, &mut |_, name, stat| {
        if let Some(what) = door(stat) {
            return Err(is_a_door(name, what));
        }
        if stat.st_dev != top.st_dev {
            let name = name.to_string_lossy();
            return Err(io::Error::other(format!("{name} in it is another file system")));
        }
        users.insert(stat.st_uid);
        groups.insert(stat.st_gid);
        Ok(())
    })?;
    let first = |own: u32, mut all: BTreeSet<u32>| {
        all.remove(&own);
        std::iter::once(own).chain(all).collect()
    };
    Ok((first(top.st_uid, users), first(top.st_gid, groups)))
}

/// Pairs of an owner on the disk and how it is seen.
fn seen_as(owners: &[u32], payload: u32) -> Vec<(u32, u32)> {
    let others = std::iter::successors(Some(OTHERS), |id| Some(id + 1));
    owners.iter().copied().zip(std::iter::once(payload).chain(others)).collect()
}

/// A user namespace with these maps and nobody in it.
fn namespace(users: &[(u32, u32)], groups: &[(u32, u32)]) -> io::Result<OwnedFd> {
    let (ours, theirs) = UnixStream::pair()?;
    let child = match sys::fork()? {
        Fork::Child => {
            drop(ours);
            if unshare(CloneFlags::CLONE_NEWUSER).is_ok() && (&theirs).write_all(&[0]).is_ok() {
                // Until it is killed, or the keeper dies.
                _ = (&theirs).read(&mut [0]);
            }
            std::process::exit(0)
        }
        Fork::Parent(child) => child,
    };
    drop(theirs);
    let made = (&ours).read_exact(&mut [0]).and_then(|()| {
        write_maps(&child.to_string(), users, groups)?;
        File::open(format!("/proc/{child}/ns/user"))
    });
    _ = kill(child, Signal::SIGKILL);
    _ = waitpid(child, None);
    made.map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directorys_owner_becomes_the_payload_and_all_others_nobody_that_runs() {
        assert_eq!(seen_as(&[0, 5, 7], 9), [(0, 9), (5, OTHERS), (7, OTHERS + 1)]);
    }
}
