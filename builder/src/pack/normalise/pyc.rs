//! Compiled Python 3.7 and later (PEP 552): magic number, flags, then the source's time and length.

use super::at;

/// Sets the source's time, where there is one, to that of every packed file: so Python still takes both for a pair.
pub(super) fn clean(bytes: &mut [u8], epoch: u32) -> Option<()> {
    let by_time = [0; 4];
    if bytes.get(2..4)? != b"\r\n" || bytes.get(4..8)? != by_time || bytes.len() <= 16 {
        return None;
    }
    // What follows the header is a marshalled code object, with or without a mark for references.
    if bytes[16] & 0x7f != b'c' {
        return None;
    }
    *at(bytes, 8)? = epoch.to_le_bytes();
    Some(())
}
