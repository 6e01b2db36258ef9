//! The printable texts of two files that tell best why they differ.

use std::collections::HashSet;

use super::looks::Looks;

/// Bytes shown before and after the first difference.
const AROUND: usize = 48;
/// Most texts of a member that are looked at.
const MAX_TEXTS: usize = 200;

/// The text around the first difference; or, where that looks like nothing (an offset or a build id stands before the
/// cause in most ELF files), the first texts of one kind that only the one and only the other has.
pub(super) fn telling(a: &[u8], b: &[u8], first: usize) -> (String, String) {
    let plain = (printable(a, first), printable(b, first));
    if Looks::of(&plain.0, &plain.1).is_some_and(Looks::is_a_cause) {
        return plain;
    }
    let (texts_a, texts_b) = (texts(a), texts(b));
    let only = |texts: &[String], others: &[String]| {
        let others: HashSet<&String> = others.iter().collect();
        let telling = |text: &&String| Looks::alone(text).is_some() && !others.contains(*text);
        texts.iter().filter(telling).take(MAX_TEXTS).cloned().collect::<Vec<_>>()
    };
    let only_b = only(&texts_b, &texts_a);
    for text in only(&texts_a, &texts_b) {
        if let Some(other) = only_b.iter().find(|o| Looks::alone(o) == Looks::alone(&text)) {
            return (text, other.clone());
        }
    }
    plain
}

/// The runs of printable text, as `strings` lists them.
fn texts(bytes: &[u8]) -> Vec<String> {
    bytes
        .split(|b| !is_plain(*b))
        .filter(|run| (6..=1024).contains(&run.len()))
        .map(|run| String::from_utf8_lossy(run).into_owned())
        .collect()
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() || byte == b' '
}

/// The printable run of text that the offset lies in, at most [`AROUND`] bytes to either side.
fn printable(bytes: &[u8], at: usize) -> String {
    let plain = |b: &u8| is_plain(*b);
    let at = at.min(bytes.len());
    let before: Vec<u8> =
        bytes[..at].iter().rev().take(AROUND).take_while(|b| plain(b)).copied().collect();
    let after = bytes[at..].iter().take(AROUND).take_while(|b| plain(b));
    before.iter().rev().chain(after).map(|b| char::from(*b)).collect()
}
