//! What a file holds, by its first bytes: sections, members, fields of a header. What cannot be read is told as bytes.

use std::io::Read;

use super::looks::Looks;
use super::members;
use super::part::Part;
use super::{MAX_MEMBER, elf};

/// What differs inside two files of the same format; empty where the format is unknown or one is damaged.
pub(super) fn parts(a: &[u8], b: &[u8], depth: u32) -> Vec<Part> {
    let found = match (a, b) {
        ([0x7f, b'E', b'L', b'F', ..], [0x7f, b'E', b'L', b'F', ..]) => elf::parts(a, b),
        ([0x1f, 0x8b, ..], [0x1f, 0x8b, ..]) => gzip(a, b, depth),
        ([0x28, 0xb5, 0x2f, 0xfd, ..], [0x28, 0xb5, 0x2f, 0xfd, ..]) => {
            both(a, b, zstd).map(|(a, b)| unpacked("zstd", &a, &b, depth))
        }
        (a, b) if a.starts_with(b"!<arch>\n") && b.starts_with(b"!<arch>\n") => {
            both(a, b, members::of_ar).map(|(a, b)| members::parts(&a, &b, &members::AR, depth))
        }
        (a, b) if a.starts_with(b"PK\x03\x04") && b.starts_with(b"PK\x03\x04") => {
            both(a, b, members::of_zip).map(|(a, b)| members::parts(&a, &b, &members::ZIP, depth))
        }
        (a, b) if is_tar(a) && is_tar(b) => {
            both(a, b, members::of_tar).map(|(a, b)| members::parts(&a, &b, &members::TAR, depth))
        }
        (a, b) if is_pyc(a) && is_pyc(b) => Some(pyc(a, b)),
        (a, b) => reordered(a, b).map(|part| vec![part]),
    };
    found.unwrap_or_default()
}

/// Both sides read, or nothing.
fn both<'a, T>(a: &'a [u8], b: &'a [u8], read: impl Fn(&'a [u8]) -> Option<T>) -> Option<(T, T)> {
    Some((read(a)?, read(b)?))
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// The magic number of CPython 3: a version in two bytes, then `\r\n`; the flags are zero to three.
fn is_pyc(bytes: &[u8]) -> bool {
    bytes.get(2..4) == Some(b"\r\n")
        && bytes.len() > 16
        && matches!(bytes.get(4..8), Some([0..=3, 0, 0, 0]))
}

fn limited(reader: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_MEMBER + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MAX_MEMBER).then_some(bytes)
}

fn zstd(bytes: &[u8]) -> Option<Vec<u8>> {
    limited(zstd::Decoder::new(bytes).ok()?)
}

/// What differs once both are decompressed; nothing more than the compression where that is equal.
fn unpacked(format: &str, a: &[u8], b: &[u8], depth: u32) -> Vec<Part> {
    if a == b {
        let name = format!("the compressed form ({format})");
        let hint = "the same contents, compressed by another version, level or number of threads";
        return vec![Part::field(&name, String::new(), String::new()).known(Looks::Packing, hint)];
    }
    vec![Part::of_bytes(format!("decompressed ({format})"), a, b, depth)]
}

fn gzip(a: &[u8], b: &[u8], depth: u32) -> Option<Vec<Part>> {
    const HINT: &str = "the time in the gzip header: gzip -n, or mtime = 0 in the library";
    let decoders = [a, b].map(flate2::bufread::GzDecoder::new);
    let mut parts = Vec::new();
    if let [Some(x), Some(y)] = [&decoders[0], &decoders[1]].map(|d| d.header()) {
        if x.mtime() != y.mtime() {
            let [first, second] = [x, y].map(|header| members::time(i64::from(header.mtime())));
            parts.push(Part::field("modification time", first, second).known(Looks::Date, HINT));
        }
        let name = |header: &flate2::GzHeader| {
            String::from_utf8_lossy(header.filename().unwrap_or_default()).into_owned()
        };
        if name(x) != name(y) {
            parts.push(Part::field("name in the header", name(x), name(y)));
        }
    }
    let (x, y) = both(a, b, |bytes| limited(flate2::bufread::MultiGzDecoder::new(bytes)))?;
    if x != y || parts.is_empty() {
        parts.extend(unpacked("gzip", &x, &y, depth));
    }
    Some(parts)
}

fn pyc(a: &[u8], b: &[u8]) -> Vec<Part> {
    const HINT: &str = "the source's time in compiled Python: set SOURCE_DATE_EPOCH when it is \
                        compiled, or py_compile --invalidation-mode checked-hash";
    let stamp = |bytes: &[u8]| {
        let word: [u8; 4] = bytes.get(8..12)?.try_into().ok()?;
        Some(members::time(i64::from(u32::from_le_bytes(word))))
    };
    let mut parts = Vec::new();
    let timed = |bytes: &[u8]| bytes.get(4) == Some(&0);
    if let (Some(first), Some(second)) = (stamp(a), stamp(b))
        && first != second
        && timed(a)
        && timed(b)
    {
        parts.push(Part::field("source's time", first, second).known(Looks::Date, HINT));
    }
    let (x, y) = (a.get(16..).unwrap_or_default(), b.get(16..).unwrap_or_default());
    if x != y {
        parts.push(Part::plain("code".to_owned(), x, y));
    }
    parts
}

/// Texts with the same lines in another order.
fn reordered(a: &[u8], b: &[u8]) -> Option<Part> {
    let (a, b) = (std::str::from_utf8(a).ok()?, std::str::from_utf8(b).ok()?);
    fn sorted(text: &str) -> Vec<&str> {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines
    }
    if a.len() != b.len() || a.lines().count() < 2 || sorted(a) != sorted(b) {
        return None;
    }
    let (first, second) = a.lines().zip(b.lines()).find(|(x, y)| x != y)?;
    let shown = |line: &str| line.chars().take(96).collect::<String>();
    let part = Part::field("order of lines", shown(first), shown(second));
    Some(part.known(Looks::Order, Looks::Order.hint()))
}
