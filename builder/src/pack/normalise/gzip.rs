//! gzip (RFC 1952): the time lies in bytes 4 to 8 of the header.

use super::at;

/// Sets the time to zero, which means that there is none.
pub(super) fn clean(bytes: &mut [u8]) -> Option<()> {
    if !bytes.starts_with(&[0x1f, 0x8b, 8]) {
        return None;
    }
    *at(bytes, 4)? = [0; 4];
    Some(())
}
