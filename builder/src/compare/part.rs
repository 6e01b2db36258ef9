//! One thing in a member that differs, and the things in it: told from the outside in, the cause first.

use serde::Serialize;

use super::holds;
use super::looks::Looks;
use super::texts;

/// Most parts that are told at one level.
pub(super) const MAX_PARTS: usize = 40;
/// How many containers may lie in each other: a package in an archive in a compressed file.
const MAX_DEPTH: u32 = 6;

/// A section, a symbol, a header's field, a member of a member.
#[derive(Debug, Serialize)]
pub struct Part {
    /// What it is: `section .rodata`, `symbol main`, `member a.o`, `modification time`.
    pub name: String,
    /// Offset of the first differing byte in it, where it has bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// In the first: the printable characters around the offset, or the field's value.
    pub first: String,
    /// In the second.
    pub second: String,
    /// What the difference looks like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looks: Option<Looks>,
    /// The usual cure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
    /// What differs inside it, where its format is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

impl Part {
    /// A field with a value.
    pub(super) fn field(name: &str, first: String, second: String) -> Self {
        let looks = Looks::of(&first, &second);
        let hint = looks.map(Looks::hint);
        Self { name: name.to_owned(), offset: None, first, second, looks, hint, parts: Vec::new() }
    }

    /// The same difference with a kind and a cure that its place tells.
    pub(super) fn known(mut self, looks: Looks, hint: &'static str) -> Self {
        (self.looks, self.hint) = (Some(looks), Some(hint));
        self
    }

    /// Bytes that have no format of their own.
    pub(super) fn plain(name: String, a: &[u8], b: &[u8]) -> Self {
        let common = a.iter().zip(b).take_while(|(x, y)| x == y).count();
        let (first, second) = texts::telling(a, b, common);
        let looks = Looks::of(&first, &second);
        let (offset, hint) = (Some(common as u64), looks.map(Looks::hint));
        Self { name, offset, first, second, looks, hint, parts: Vec::new() }
    }

    /// Bytes that may hold others.
    pub(super) fn of_bytes(name: String, a: &[u8], b: &[u8], depth: u32) -> Self {
        let mut part = Self::plain(name, a, b);
        if depth < MAX_DEPTH {
            part.parts = holds::parts(a, b, depth + 1);
            sort(&mut part.parts);
        }
        if let Some(cause) = part.parts.first().and_then(Self::cause)
            && !part.looks.is_some_and(Looks::is_a_cause)
        {
            (part.looks, part.hint) = (cause.looks, cause.hint);
            (part.first, part.second) = (cause.first.clone(), cause.second.clone());
        }
        part
    }

    /// The innermost part that can be what made the bytes differ.
    fn cause(&self) -> Option<&Self> {
        let inner = self.parts.first().and_then(Self::cause);
        inner.or_else(|| self.looks.is_some_and(Looks::is_a_cause).then_some(self))
    }

    /// Causes first, then what nothing is known of, then what follows from other differences.
    fn rank(&self) -> u8 {
        match (self.cause(), self.looks) {
            (Some(_), _) => 0,
            (None, Some(Looks::Digest)) => 2,
            (None, _) => 1,
        }
    }
}

/// Puts causes first and keeps what fits.
fn sort(parts: &mut Vec<Part>) {
    parts.sort_by_key(Part::rank);
    let more = parts.len().saturating_sub(MAX_PARTS);
    if more > 0 {
        parts.truncate(MAX_PARTS);
        let name = format!("{more} more");
        parts.push(Part::field(&name, String::new(), String::new()));
    }
}
