//! Scratch directories: given to the payload's kernel user before, handed back after.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::ids::PRIVATE;
use crate::error::{Failure, Kind, Staged, Step};
use crate::options::Mount;
use crate::spec::Plan;

/// Directories that belong to the payload for now.
#[derive(Debug, Default)]
pub(crate) struct Given(Vec<(PathBuf, Uid, Gid)>);

impl Given {
    /// Gives every scratch directory of the plan to this id. What was given before a failure is handed back.
    pub(crate) fn give(plan: &Plan, id: u32) -> Staged<Self> {
        let mut given = Self::default();
        for mount in &plan.mounts {
            let work = match mount {
                Mount::Overlay { work, .. } => Some(work.as_path()),
                _ => None,
            };
            for from in [mount.scratch(), work].into_iter().flatten() {
                if let Err(error) = given.give_one(from, id) {
                    // The first failure is the one to tell.
                    _ = given.hand_back();
                    return Err(Failure::new(Kind::Owner, from.display().to_string(), &error));
                }
            }
        }
        Ok(given)
    }

    /// Everything in them gets its directory's former owner. Set-user-id bits and file capabilities go: the
    /// kernel drops them when a file changes hands.
    pub(crate) fn hand_back(&mut self) -> Staged<()> {
        let mut result = Ok(());
        for (path, uid, gid) in self.0.drain(..).rev() {
            let done = change(&path, uid, gid).fail(Kind::Owner, path.display().to_string());
            result = result.and(done);
        }
        result
    }

    fn give_one(&mut self, path: &Path, id: u32) -> io::Result<()> {
        let stat = fstat(open_dir(path)?)?;
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        if PRIVATE.contains(&u64::from(stat.st_uid)) {
            return Err(io::Error::other(
                "it belongs to a payload: another sandbox has it, or one ended without handing it back",
            ));
        }
        refuse_links_to_outside(path)?;
        self.0.push((path.to_owned(), uid, gid));
        change(path, Uid::from_raw(id), Gid::from_raw(id))
    }
}

/// A socket, a FIFO or a device in a scratch directory may have a process outside at its other end, and
/// no other wall of the sandbox stands between.
pub(crate) fn refuse_doors(plan: &Plan) -> Staged<()> {
    for mount in &plan.mounts {
        let Some(from) = mount.scratch() else { continue };
        let marks = matches!(mount, Mount::Overlay { .. });
        let looked = walk(from, Beyond::Too, &mut |_, name, stat| match door(stat) {
            // The mark of something removed, which nobody can open.
            Some("device") if marks && is_mark(stat) => Ok(()),
            Some(what) => Err(is_a_door(name, what)),
            None => Ok(()),
        });
        looked.fail(Kind::Owner, from.display().to_string())?;
    }
    Ok(())
}

/// What leads out of a sandbox, if it is such a thing.
pub(super) fn door(stat: &FileStat) -> Option<&'static str> {
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK => None,
        libc::S_IFSOCK => Some("socket"),
        libc::S_IFIFO => Some("FIFO"),
        _ => Some("device"),
    }
}

pub(super) fn is_a_door(name: &CString, what: &str) -> io::Error {
    let name = name.to_string_lossy();
    io::Error::other(format!("{name} in it is a {what}: a way out of the sandbox"))
}

/// Whether it is how an overlay marks a removed name: the character device 0:0.
fn is_mark(stat: &FileStat) -> bool {
    stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == 0
}

fn open_dir(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

/// A file with another name elsewhere would change its owner there too.
fn refuse_links_to_outside(path: &Path) -> io::Result<()> {
    let mut names_left: HashMap<u64, libc::nlink_t> = HashMap::new();
    walk(path, Beyond::Not, &mut |_, _, stat| {
        if !is_dir(stat) && stat.st_nlink > 1 {
            *names_left.entry(stat.st_ino).or_insert(stat.st_nlink) -= 1;
        }
        Ok(())
    })?;
    if names_left.values().all(|left| *left == 0) {
        return Ok(());
    }
    Err(io::Error::other("a file in it has a hard link outside of it"))
}

fn change(path: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    walk(path, Beyond::Not, &mut |dir, name, _| {
        Ok(fchownat(dir, name.as_c_str(), Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)?)
    })?;
    fchown(open_dir(path)?, Some(uid), Some(gid))?;
    Ok(())
}

type Visit<'a> = dyn FnMut(&OwnedFd, &CString, &FileStat) -> io::Result<()> + 'a;

/// Whether what other file systems have below a directory is visited too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Beyond {
    Too,
    Not,
}

/// Visits everything below a directory, following no link. The tree may be hostile:
/// two descriptors are open at a time however deep it is, and no path is ever put together.
pub(super) fn walk(top: &Path, beyond: Beyond, visit: &mut Visit<'_>) -> io::Result<()> {
    let mut here = open_dir(top)?;
    let device = match beyond {
        Beyond::Not => Some(fstat(&here)?.st_dev),
        Beyond::Too => None,
    };
    let mut pending = vec![visit_all(&here, device, visit)?];
    loop {
        let down = match pending.last_mut() {
            Some(names) => names.pop(),
            None => return Ok(()),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match down {
            Some(name) => {
                here = openat(&here, name.as_c_str(), flags, Mode::empty())?;
                pending.push(visit_all(&here, device, visit)?);
            }
            None => {
                pending.pop();
                if !pending.is_empty() {
                    here = openat(&here, "..", flags, Mode::empty())?;
                }
            }
        }
    }
}

/// Visits a directory's entries and returns its directories.
fn visit_all(
    dir: &OwnedFd,
    device: Option<u64>,
    visit: &mut Visit<'_>,
) -> io::Result<Vec<CString>> {
    let mut dirs = Vec::new();
    for entry in Dir::from_fd(dir.try_clone()?)?.iter() {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() == b"." || name.as_bytes() == b".." {
            continue;
        }
        let stat = fstatat(dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if device.is_some_and(|device| stat.st_dev != device) {
            continue;
        }
        visit(dir, &name, &stat)?;
        if is_dir(&stat) {
            dirs.push(name);
        }
    }
    Ok(dirs)
}

fn is_dir(stat: &FileStat) -> bool {
    stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits()
}
