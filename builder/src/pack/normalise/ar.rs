//! `ar`: eight bytes, then members with a header of sixty characters, each at an even offset.

use super::at;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// Sets times, owners and modes to what `ar D` writes.
pub(super) fn clean(bytes: &mut [u8]) -> Option<()> {
    // The first walk only checks: a file that is no archive to its end is not changed.
    let starts = starts(bytes)?;
    for start in starts {
        *at(bytes, start + 16)? = *b"0           ";
        *at(bytes, start + 28)? = *b"0     0     ";
        *at(bytes, start + 40)? = *b"100644  ";
    }
    Some(())
}

fn starts(bytes: &[u8]) -> Option<Vec<usize>> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    let (mut starts, mut start) = (Vec::new(), MAGIC.len());
    while start < bytes.len() {
        let header = bytes.get(start..start + HEADER)?;
        if &header[58..] != b"`\n" {
            return None;
        }
        let size: usize = std::str::from_utf8(&header[48..58]).ok()?.trim_end().parse().ok()?;
        // The tables of names and symbols have headers with blanks, as `ar` writes them.
        if !header[..16].starts_with(b"//") {
            starts.push(start);
        }
        start = (start + HEADER).checked_add(size)?;
        start += start % 2;
    }
    Some(starts).filter(|starts| !starts.is_empty())
}
