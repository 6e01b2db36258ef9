//! As much DER as a certificate of a private Sigstore instance needs.

/// A value with its tag and length.
pub(crate) fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..0x80 => out.push(length as u8),
        0x80..0x100 => out.extend([0x81, length as u8]),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    [out, content].concat()
}

/// A `SEQUENCE`.
pub(crate) fn seq(parts: &[&[u8]]) -> Vec<u8> {
    der(0x30, parts)
}

/// An `OBJECT IDENTIFIER`, given as it is encoded.
pub(crate) fn oid(encoded: &[u8]) -> Vec<u8> {
    der(6, &[encoded])
}

/// An X.509 extension.
pub(crate) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { der(1, &[&[0xff]]) } else { Vec::new() };
    seq(&[&oid(id), &critical, &der(4, &[value])])
}

/// `sha256`, `ecdsa-with-SHA256` and friends, as encoded.
pub(crate) mod id {
    pub(crate) const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    pub(crate) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    pub(crate) const SUBJECT_KEY: &[u8] = &[0x55, 0x1d, 0x0e];
    pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    pub(crate) const AUTHORITY_KEY: &[u8] = &[0x55, 0x1d, 0x23];
    pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    pub(crate) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
    pub(crate) const CODE_SIGNING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
    pub(crate) const TIME_STAMPING: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 8];
    pub(crate) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    /// CMS: signed data, and its two attributes.
    pub(crate) const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    pub(crate) const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
    pub(crate) const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
    /// RFC 3161's `TSTInfo`.
    pub(crate) const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 0x10, 1, 4];
    /// Fulcio's first way to name the issuer, 1.3.6.1.4.1.57264.1.1: the bytes without DER.
    pub(crate) const OLD_ISSUER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 1];
    /// Fulcio's issuer, 1.3.6.1.4.1.57264.1.8.
    pub(crate) const ISSUER: &[u8] = &[0x2b, 6, 1, 4, 1, 0x83, 0xbf, 0x30, 1, 8];
    /// RFC 6962's list of SCTs, 1.3.6.1.4.1.11129.2.4.2.
    pub(crate) const SCT_LIST: &[u8] = &[0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 2];
}
