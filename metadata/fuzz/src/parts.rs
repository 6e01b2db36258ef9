//! Several files in one: `== NAME` on a line of its own, then the file.

/// The files in the order in which they stand. What comes before the first name is passed over.
pub(crate) fn parts(bytes: &[u8]) -> Vec<(&str, &[u8])> {
    const MARK: &[u8] = b"== ";
    let mut found = Vec::new();
    let mut name = None;
    let mut start = 0;
    let mut at = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let next = line.strip_prefix(MARK).and_then(|n| std::str::from_utf8(n).ok());
        if let Some(next) = next {
            found.extend(name.map(|name| (name, &bytes[start..at])));
            name = Some(next.trim_end());
            start = at + line.len();
        }
        at += line.len();
    }
    found.extend(name.map(|name| (name, &bytes[start..])));
    found
}
