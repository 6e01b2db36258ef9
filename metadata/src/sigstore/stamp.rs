//! A question to a timestamp authority (RFC 3161, section 2.4.1): when was this signature there?

use crate::Sha256;

/// `TimeStampReq` in DER up to the digest: version 1, `messageImprint` by SHA-256.
const BEFORE: [u8; 24] = [
    0x30, 0x39, 0x02, 0x01, 0x01, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65,
    0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
];
/// `certReq` true: authorities leave their certificate out otherwise, and some readers look for it there.
const AFTER: [u8; 3] = [0x01, 0x01, 0xff];

/// The request. It has no nonce: a signature that was made a moment ago is one.
pub(super) fn request(signature: &[u8]) -> Vec<u8> {
    [&BEFORE[..], Sha256::of(signature).as_bytes(), &AFTER].concat()
}
