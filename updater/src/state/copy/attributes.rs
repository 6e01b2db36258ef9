//! Extended attributes, access control lists among them: copied exactly, and digested.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr};
use rustix::io::Errno;

/// Attributes by name.
pub type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// The kernel's own limits are 64 KiB for the list and for a value; tries, because both may grow meanwhile.
const TRIES: usize = 8;

/// Gives `copy` the attributes of `source`: all that a program may set for itself (`user.*`) and access control lists, or it
/// fails; others where this user may set them. Returns the digest of the former, if there are any.
pub(super) fn copy(source: &File, copy: &File) -> io::Result<Option<Sha256>> {
    let (wanted, there) = (read(source)?, read(copy)?);
    change(copy, &wanted, &there)?;
    Ok(digest(&wanted))
}

/// The attributes of a file that count: those that a program may set for itself, and access control lists.
///
/// # Errors
/// They cannot be read.
pub fn held(file: &File) -> io::Result<Attributes> {
    let mut attributes = read(file)?;
    attributes.retain(|name, _| counts(name));
    Ok(attributes)
}

/// Gives a file exactly these of those that count; others stay.
///
/// # Errors
/// One of them cannot be set or removed, or does not count.
pub fn give(file: &File, wanted: &Attributes) -> io::Result<()> {
    if let Some(name) = wanted.keys().find(|name| !counts(name)) {
        let name = String::from_utf8_lossy(name);
        return Err(io::Error::other(format!("the extended attribute {name} is the machine's")));
    }
    change(file, wanted, &held(file)?)
}

fn change(file: &File, wanted: &Attributes, there: &Attributes) -> io::Result<()> {
    for name in there.keys().filter(|name| !wanted.contains_key(*name)) {
        tolerate(name, fremovexattr(file, name.as_slice()))?;
    }
    for (name, value) in wanted.iter().filter(|(name, value)| there.get(*name) != Some(value)) {
        tolerate(name, fsetxattr(file, name.as_slice(), value, XattrFlags::empty()))?;
    }
    Ok(())
}

/// The digest of the attributes that count, as [`copy()`] gives it.
pub(super) fn of(file: &File) -> io::Result<Option<Sha256>> {
    Ok(digest(&read(file)?))
}

/// Over the names and values of those that count; `None` if there are none.
pub fn digest(attributes: &Attributes) -> Option<Sha256> {
    let mut hasher = Hasher::default();
    let mut any = false;
    for (name, value) in attributes.iter().filter(|(name, _)| counts(name)) {
        for part in [name, value] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        any = true;
    }
    any.then(|| hasher.finish().0)
}

fn counts(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_")
}

/// What is the machine's (labels, capabilities) is left where this user or file system cannot set it.
fn tolerate(name: &[u8], set: Result<(), Errno>) -> io::Result<()> {
    match set {
        Err(error) if counts(name) => Err(io::Error::other(format!(
            "its extended attribute {} cannot be copied: {error}",
            String::from_utf8_lossy(name)
        ))),
        _ => Ok(()),
    }
}

fn read(file: &File) -> io::Result<Attributes> {
    let names = match grown(|buffer| flistxattr(file, buffer)) {
        Err(Errno::OPNOTSUPP) => return Ok(Attributes::new()),
        names => names?,
    };
    let mut attributes = Attributes::new();
    // A file system's own settings are not the file's.
    let ours = |name: &&[u8]| !name.is_empty() && !name.starts_with(b"btrfs.");
    for name in names.split(|byte| *byte == 0).filter(ours) {
        match grown(|buffer| fgetxattr(file, name, buffer)) {
            Ok(value) => drop(attributes.insert(name.to_vec(), value)),
            // Removed meanwhile, or not for this user's eyes.
            Err(Errno::NODATA) => {}
            Err(Errno::PERM | Errno::ACCESS) if !counts(name) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(attributes)
}

fn grown(mut read: impl FnMut(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; 1 << 10];
    for _ in 0..TRIES {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
    Err(Errno::TOOBIG)
}
