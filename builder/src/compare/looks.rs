//! What a difference looks like, from the text around it, and the usual cure.

use serde::Serialize;

/// What a difference looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Looks {
    /// A date or a time of day.
    Date,
    /// A path.
    Path,
    /// The name of a host or user that `check` varies.
    Name,
    /// A number of digits that may be a time, a count or an id.
    Number,
    /// Hexadecimal digits: a digest or build id, which follows from another difference.
    Digest,
    /// The same things in another order.
    Order,
    /// Permissions.
    Mode,
    /// The same contents, compressed otherwise.
    Packing,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const VARIED: [&str; 6] =
    ["countersign", "another-host", "somebody", "build", "localdomain", "elsewhere.example"];

impl Looks {
    /// What the difference between two texts looks like, if it looks like anything.
    pub fn of(first: &str, second: &str) -> Option<Self> {
        if first == second {
            return None;
        }
        let alone = Self::alone(first);
        if alone.is_some() && alone == Self::alone(second) {
            return alone;
        }
        let changed = (changed(first, second), changed(second, first));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits(changed.0) && digits(changed.1) {
            return Some(Self::Number);
        }
        let hex = |text: &str| text.len() >= 8 && text.bytes().all(|b| b.is_ascii_hexdigit());
        (hex(changed.0) && hex(changed.1)).then_some(Self::Digest)
    }

    /// What a text looks like by itself: a date, a path, a name that `check` varies.
    pub(super) fn alone(text: &str) -> Option<Self> {
        if is_date(text) {
            Some(Self::Date)
        } else if is_path(text) {
            Some(Self::Path)
        } else {
            VARIED.iter().any(|name| text.contains(name)).then_some(Self::Name)
        }
    }

    /// Whether it can be what made the bytes differ, and not only what follows from that.
    pub(super) fn is_a_cause(self) -> bool {
        !matches!(self, Self::Number | Self::Digest)
    }

    /// The usual cure.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Date => {
                "a date of the build: use SOURCE_DATE_EPOCH, drop __DATE__ and __TIME__, or set \
                 clock = \"held\" in [build]"
            }
            Self::Path => {
                "the directory of the build: -ffile-prefix-map=$PWD=. (C), --remap-path-prefix \
                 (Rust), relative paths"
            }
            Self::Name => "the name of the host or user: set it to a fixed word",
            Self::Number => "a number: a time, a process id, a CPU count, an inode? `check` tells",
            Self::Digest => "a digest or build id: it follows from another difference",
            Self::Order => {
                "the same things in another order: sort what is read from a directory (sorted globs, LC_ALL=C), and do not \
                 rely on the order of hash tables or of parallel steps"
            }
            Self::Mode => "permissions: install -m, or umask 022 in the step",
            Self::Packing => {
                "another compression: fix version, level and threads of the compressor"
            }
        }
    }
}

/// The part of `text` between what it has in common with `other` at both ends.
fn changed<'a>(text: &'a str, other: &str) -> &'a str {
    let same = |(a, b): &(u8, u8)| a == b;
    let front = text.bytes().zip(other.bytes()).take_while(same).count();
    let rest = text.len().min(other.len()) - front;
    let back = text.bytes().rev().zip(other.bytes().rev()).take(rest).take_while(same).count();
    text.get(front..text.len() - back).unwrap_or(text)
}

/// `Nov 20`, `2026-11-20`, `12:30:59`.
fn is_date(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let month = MONTHS.iter().any(|month| {
        let spaced = [format!("{month} 0"), format!("{month}  0"), format!("0 {month}")];
        spaced.iter().any(|form| shape.contains(form.as_str()))
    });
    month
        || ["00:00:00", "0000-00-00", "0000/00/00", "00000000T00"].iter().any(|f| shape.contains(f))
}

/// At least two segments, one of which is not the tail of a sentence.
fn is_path(text: &str) -> bool {
    text.split([' ', '"', '\'', '=', ':', ',', ';'])
        .any(|word| word.starts_with('/') && word.matches('/').count() >= 2 && !word.contains("//"))
}
