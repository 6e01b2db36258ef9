//! Which kernel user the payload runs as: as root one of its own, as a plain user the caller's.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::capability::{PRIVATE_USER, USER_NAMESPACES};
use crate::error::{Failure, Staged, Step};

/// Where private ids come from: above what systemd and the container tools hand out, below 2^31.
pub(super) const PRIVATE: std::ops::Range<u64> = 0x7000_0000..0x8000_0000;

/// In a user namespace without [`PRIVATE`], the ids are taken from this many at the end of its range.
const TAIL: u64 = 4096;

/// Capabilities, by bit, that root needs to make a sandbox: CHOWN, SETGID, SETUID, NET_ADMIN, NET_RAW,
/// SYS_ADMIN.
const NEEDED: u64 = 1 | 1 << 6 | 1 << 7 | 1 << 12 | 1 << 13 | 1 << 21;

/// Kernel users, and group ids of the same numbers.
#[derive(Debug)]
pub(crate) enum Ids {
    /// Nobody else runs as these two while the sandbox lives.
    Private { payload: u32, init: u32, _reserved: UnixListener },
    /// The payload runs as the caller, in a user namespace that maps nobody else.
    Caller { uid: u32, gid: u32 },
}

impl Ids {
    /// Root gets private ids or a refusal: a payload with the kernel's uid 0 could write
    /// `/proc/sys/kernel/core_pattern`, one with a live node's uid could trace it.
    pub(crate) fn choose() -> Staged<Self> {
        let uid = nix::unistd::geteuid().as_raw();
        if uid != 0 {
            return Ok(Self::Caller { uid, gid: nix::unistd::getegid().as_raw() });
        }
        if effective_capabilities().step("read /proc/self/status")? & NEEDED != NEEDED {
            return Err(Failure::missing(
                PRIVATE_USER,
                "root without the right to change users, mounts and network; start it as a plain user instead",
            ));
        }
        let uids = fs::read_to_string("/proc/self/uid_map").step("read /proc/self/uid_map")?;
        let gids = fs::read_to_string("/proc/self/gid_map").step("read /proc/self/gid_map")?;
        let Some(range) = usable(&uids, &gids) else {
            return Err(Failure::missing(
                PRIVATE_USER,
                "this user namespace maps too few ids for a user of the payload's own",
            ));
        };
        Self::reserve(&range).step("reserve a private user id")
    }

    /// Takes two ids that no other sandbox on this machine's network has. The kernel drops the
    /// reservation, an abstract socket address, with the process that holds it.
    fn reserve(range: &std::ops::Range<u64>) -> io::Result<Self> {
        let pairs = (range.end - range.start) / 2;
        for _ in 0..64 {
            let first = range.start + (random()? % pairs) * 2;
            let name = format!("countersign-sandbox-user-{first}");
            match UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?) {
                Ok(reserved) => {
                    let payload = u32::try_from(first).map_err(io::Error::other)?;
                    return Ok(Self::Private { payload, init: payload + 1, _reserved: reserved });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::from(io::ErrorKind::AddrInUse))
    }

    /// The id of init inside: any but the payload's.
    pub(crate) fn init_inside(payload: u32) -> u32 {
        if payload == 65533 { 65532 } else { 65533 }
    }

    /// Whether the caller is root.
    pub(crate) fn private(&self) -> Option<(u32, u32)> {
        match self {
            Self::Private { payload, init, .. } => Some((*payload, *init)),
            Self::Caller { .. } => None,
        }
    }
}

/// Why this user cannot have a user namespace, where the kernel says so beforehand. Only the first setting
/// is for root too.
pub(crate) fn user_namespaces_forbidden() -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    if !std::path::Path::new("/proc/self/ns/user").exists() {
        return Some("the kernel is built without them".to_owned());
    }
    let settings = [
        ("/proc/sys/user/max_user_namespaces", "0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    ];
    let root = nix::unistd::geteuid().is_root();
    for (path, off) in settings.into_iter().take(if root { 1 } else { 3 }) {
        if read(path).as_deref() == Some(off) {
            return Some(format!("{path} is {off}"));
        }
    }
    None
}

/// The same as a failure, with the kernel's own word where the settings do not explain it.
pub(crate) fn no_user_namespace(error: &io::Error) -> Failure {
    let reason = user_namespaces_forbidden().unwrap_or_else(|| error.to_string());
    Failure::missing(USER_NAMESPACES, reason)
}

fn effective_capabilities() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    u64::from_str_radix(line.unwrap_or_default().trim(), 16).map_err(io::Error::other)
}

fn random() -> io::Result<u64> {
    use std::io::Read;
    let mut bytes = [0; 8];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// The ids that may be used: mapped here both as users and as groups, and nobody's in particular.
fn usable(uids: &str, gids: &str) -> Option<std::ops::Range<u64>> {
    let (uids, gids) = (extents(uids), extents(gids));
    let within = |range: &std::ops::Range<u64>, extents: &[std::ops::Range<u64>]| {
        extents.iter().any(|extent| extent.start <= range.start && range.end <= extent.end)
    };
    let tail = uids
        .iter()
        .filter(|extent| extent.end - extent.start >= 2 * TAIL)
        .map(|extent| extent.end - TAIL - 16..extent.end - 16)
        .max_by_key(|range| range.end);
    [Some(PRIVATE), tail]
        .into_iter()
        .flatten()
        .find(|range| within(range, &uids) && within(range, &gids))
}

/// The inside ranges of a map file.
fn extents(map: &str) -> Vec<std::ops::Range<u64>> {
    map.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u64>);
            let (Some(Ok(start)), Some(Ok(_)), Some(Ok(count)), None) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return None;
            };
            Some(start..start.checked_add(count)?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_machine_offers_its_private_range() {
        let map = "         0          0 4294967295\n";
        assert_eq!(usable(map, map), Some(PRIVATE));
    }

    #[test]
    fn a_container_offers_the_end_of_its_range_but_not_nobody() {
        let map = "0 100000 65536\n";
        let range = usable(map, map).unwrap();
        assert!(!range.contains(&65534) && range.end < 65534 && range.start > 60000);
    }

    #[test]
    fn a_single_mapping_offers_nothing() {
        assert_eq!(usable("0 1000 1\n", "0 1000 1\n"), None);
    }
}
