//! Archives inside an artifact: which member, which of its times, owners or modes, which order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use jiff::Timestamp;
use object::read::archive::ArchiveFile;

use super::MAX_MEMBER;
use super::looks::Looks;
use super::part::{MAX_PARTS, Part};

/// Most members of an archive that are read.
const MAX_MEMBERS: usize = 100_000;

/// A member as it stands in its archive.
pub(super) struct Entry {
    name: String,
    time: String,
    owner: String,
    mode: String,
    bytes: Vec<u8>,
}

/// How the tools that write a format are told to leave out what machines differ in.
pub(super) struct Cures {
    time: &'static str,
    owner: &'static str,
    mode: &'static str,
}

/// `ar`, and so static libraries.
pub(super) const AR: Cures = Cures {
    time: "a time in a static library: ar D, ranlib -D (binutils may have it as the default)",
    owner: "the builder's user number in a static library: ar D",
    mode: "the builder's umask in a static library: ar D",
};
/// `tar`.
pub(super) const TAR: Cures = Cures {
    time: "times in a tar: tar --mtime=@$SOURCE_DATE_EPOCH --sort=name",
    owner: "the builder's user in a tar: tar --owner=0 --group=0 --numeric-owner",
    mode: "the builder's umask in a tar: tar --mode=go=rX,u+rw,a-s",
};
/// `zip`, and so wheels and jars.
pub(super) const ZIP: Cures = Cures {
    time: "times in a zip: set SOURCE_DATE_EPOCH (wheel, jar), or touch -d before zip -X",
    owner: "the builder's user in a zip: zip -X",
    mode: "the builder's umask in a zip: set umask or chmod before zip",
};

/// A time of an archive, for people.
pub(super) fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// The members of an `ar` archive.
pub(super) fn of_ar(bytes: &[u8]) -> Option<Vec<Entry>> {
    let archive = ArchiveFile::parse(bytes).ok()?;
    let entry = |member: object::read::Result<object::read::archive::ArchiveMember<'_>>| {
        let member = member.ok()?;
        Some(Entry {
            name: String::from_utf8_lossy(member.name()).into_owned(),
            time: member.date().map(|date| time(date as i64)).unwrap_or_default(),
            owner: format!("{:?} {:?}", member.uid(), member.gid()).replace("Some", ""),
            mode: member.mode().map(|mode| format!("{mode:o}")).unwrap_or_default(),
            bytes: member.data(bytes).ok()?.to_vec(),
        })
    };
    archive.members().take(MAX_MEMBERS).map(entry).collect()
}

/// The members of a tar.
pub(super) fn of_tar(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut left = MAX_MEMBER;
    let entry = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.ok()?;
        let header = entry.header();
        let names = [header.username(), header.groupname()]
            .map(|name| name.ok().flatten().unwrap_or_default().to_owned());
        let owner = format!("{} {} {}", header.uid().ok()?, header.gid().ok()?, names.join(" "));
        let (time, mode) = (time(header.mtime().ok()? as i64), header.mode().ok()?);
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut body = Vec::new();
        entry.by_ref().take(left).read_to_end(&mut body).ok()?;
        left -= body.len() as u64;
        if let Some(target) = entry.link_name_bytes() {
            body.extend_from_slice(&target);
        }
        Some(Entry { name, time, owner, mode: format!("{mode:o}"), bytes: body })
    };
    tar::Archive::new(bytes).entries().ok()?.take(MAX_MEMBERS).map(entry).collect()
}

/// The members of a zip.
pub(super) fn of_zip(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).ok()?;
    let (count, mut left) = (archive.len().min(MAX_MEMBERS), MAX_MEMBER);
    let entry = |at| {
        let mut file = archive.by_index(at).ok()?;
        let mut body = Vec::new();
        file.by_ref().take(left).read_to_end(&mut body).ok()?;
        left -= body.len() as u64;
        Some(Entry {
            name: file.name().ok()?.into_owned(),
            time: file.last_modified().map(|time| time.to_string()).unwrap_or_default(),
            owner: String::new(),
            mode: file.unix_mode().map(|mode| format!("{mode:o}")).unwrap_or_default(),
            bytes: body,
        })
    };
    (0..count).map(entry).collect()
}

/// What differs between two lists of members.
pub(super) fn parts(a: &[Entry], b: &[Entry], cures: &Cures, depth: u32) -> Vec<Part> {
    let mut parts = Vec::new();
    let (names_a, names_b) = (numbered(a), numbered(b));
    let only = |of: &BTreeMap<(&str, usize), &Entry>, other: &BTreeMap<(&str, usize), &Entry>| {
        let gone = of.keys().filter(|key| !other.contains_key(*key));
        gone.take(MAX_PARTS).map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>()
    };
    let (gone, new) = (only(&names_a, &names_b), only(&names_b, &names_a));
    if !gone.is_empty() || !new.is_empty() {
        parts.push(Part::field("members that only one has", gone.join(" "), new.join(" ")));
    } else if a.iter().map(|e| &e.name).ne(b.iter().map(|e| &e.name)) {
        let part = Part::field("order of members", order(a), order(b));
        parts.push(part.known(Looks::Order, Looks::Order.hint()));
    }
    let pairs: Vec<(&Entry, &Entry)> =
        names_a.iter().filter_map(|(key, x)| Some((*x, *names_b.get(key)?))).collect();
    parts.extend(fact(&pairs, "modification time", |e| &e.time, Looks::Date, cures.time));
    parts.extend(fact(&pairs, "owner", |e| &e.owner, Looks::Name, cures.owner));
    parts.extend(fact(&pairs, "mode", |e| &e.mode, Looks::Mode, cures.mode));
    let differing = pairs.iter().filter(|(x, y)| x.bytes != y.bytes).take(MAX_PARTS);
    parts.extend(
        differing
            .map(|(x, y)| Part::of_bytes(format!("member {}", x.name), &x.bytes, &y.bytes, depth)),
    );
    parts
}

/// Members by name, and by their number among those of the same name.
fn numbered(entries: &[Entry]) -> BTreeMap<(&str, usize), &Entry> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut numbered = BTreeMap::new();
    for entry in entries {
        let count = seen.entry(&entry.name).or_default();
        *count += 1;
        numbered.insert((entry.name.as_str(), *count), entry);
    }
    numbered
}

/// A fact that differs in some members, told once, by the first of them.
fn fact<'a>(
    pairs: &[(&'a Entry, &'a Entry)],
    what: &str,
    of: impl Fn(&'a Entry) -> &'a String,
    looks: Looks,
    hint: &'static str,
) -> Option<Part> {
    let differing: Vec<_> = pairs.iter().filter(|(x, y)| of(x) != of(y)).collect();
    let (x, y) = differing.first()?;
    let names: BTreeSet<&str> = differing.iter().map(|(x, _)| x.name.as_str()).collect();
    let name = match names.len() {
        1 => format!("{what} of {}", x.name),
        n => format!("{what} of {} and {} more members", x.name, n - 1),
    };
    Some(Part::field(&name, of(x).clone(), of(y).clone()).known(looks, hint))
}

/// Names of members in the order in which they stand.
fn order(entries: &[Entry]) -> String {
    let mut names: Vec<&str> = entries.iter().take(6).map(|entry| entry.name.as_str()).collect();
    if entries.len() > names.len() {
        names.push("…");
    }
    names.join(" ")
}
