//! Where things lie in a published repository: static files, nothing else.
//!
//! ```text
//! metadata/N.root.json  N.targets.json  N.PRODUCT.json  N.snapshot.json  timestamp.json
//! targets/PRODUCT/VERSION/SHA256.PRODUCT-VERSION-PLATFORM.tar.zst
//! deltas/SHA256                          from one artifact to another, see [`crate::delta`]
//! inputs/SHA256                          every locked input, source included
//! attestations/SHA256/index.json         names of the envelopes about the artifact SHA256 (of its tar)
//! attestations/SHA256/SHA256.dsse.json   one self-signed verdict or provenance
//! attestations/SHA256/SHA256.sigstore.json   the same in a Sigstore bundle, with its log entry
//! signatures/N.PRODUCT.signed            the exact bytes that keyholders signed
//! signatures/N.PRODUCT.KEYID8.minisig    one keyholder's signature of them, for the stock tool
//! ```

use std::fmt::Write as _;

use crate::{KeyId, Sha256};

/// A name of others as one path segment: bytes of its UTF-8 that are not `A-Z a-z 0-9 - . _ ~` become `%XX`, so that no
/// name leaves its directory or its place in an address (`../a` is `..%2Fa`). Our own names stay as they are.
pub fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            let _infallible = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

/// Versioned metadata: `metadata/N.ROLE.json`, the role as a [`segment`].
pub fn metadata(role: &str, version: u64) -> String {
    format!("metadata/{version}.{}.json", segment(role))
}

/// The name under which a reader keeps a role: `ROLE.json`, the role as a [`segment`].
pub fn kept(role: &str) -> String {
    format!("{}.json", segment(role))
}

/// The one unversioned metadata file, renamed in last.
pub const TIMESTAMP: &str = "metadata/timestamp.json";

/// A consistent target: `targets/DIR/SHA256.NAME`. `path` is a target path, `digest` of the file as served.
pub fn target(path: &str, digest: &Sha256) -> String {
    target_by(path, &digest.to_string())
}

/// [`target`] of a repository that may name files by another digest, in hexadecimal. Each name in the path becomes a
/// [`segment`].
pub fn target_by(path: &str, digest: &str) -> String {
    let mut segments: Vec<_> = path.split('/').map(segment).collect();
    let name = segments.pop().unwrap_or_default();
    segments.insert(0, "targets".to_owned());
    segments.push(format!("{digest}.{name}"));
    segments.join("/")
}

/// A delta, by its own digest.
pub fn delta(digest: &Sha256) -> String {
    format!("deltas/{digest}")
}

/// A locked input.
pub fn input(digest: &Sha256) -> String {
    format!("inputs/{digest}")
}

/// The list of envelopes about an artifact.
pub fn attestation_index(artifact: &Sha256) -> String {
    format!("attestations/{artifact}/index.json")
}

/// One envelope about an artifact, named by its own digest.
pub fn attestation(artifact: &Sha256, envelope: &Sha256) -> String {
    format!("attestations/{artifact}/{envelope}.dsse.json")
}

/// One Sigstore bundle about an artifact, named by its own digest.
pub fn bundle(artifact: &Sha256, bundle: &Sha256) -> String {
    format!("attestations/{artifact}/{bundle}.sigstore.json")
}

/// The exact signed bytes of a role's version.
pub fn signed_bytes(role: &str, version: u64) -> String {
    format!("signatures/{version}.{role}.signed")
}

/// One keyholder's minisign signature of [`signed_bytes`].
pub fn minisig(role: &str, version: u64, key: &KeyId) -> String {
    format!("signatures/{version}.{role}.{}.minisig", key.short())
}

/// Limits on what is read, in bytes.
pub mod limit {
    /// Any metadata file whose length is not pinned by another.
    pub const METADATA: u64 = 32 << 20;
    /// A root file.
    pub const ROOT: u64 = 512 << 10;
    /// `timestamp.json`.
    pub const TIMESTAMP: u64 = 64 << 10;
    /// An attestation index or envelope.
    pub const ATTESTATION: u64 = 1 << 20;
    /// Envelopes read about one artifact, and as many bundles.
    pub const ATTESTATIONS: usize = 256;
    /// New roots followed in one refresh.
    pub const ROOTS: u64 = 1024;
    /// Delegated roles asked for in one search for a target.
    pub const ROLES: usize = 64;
    /// A delegated role's name as a path segment: file systems end at 255, version and suffix included.
    pub const ROLE_NAME: usize = 200;
    /// An artifact as served, and unpacked.
    pub const ARTIFACT: u64 = 4 << 30;
    /// A signing request, with its chain.
    pub const REQUEST: u64 = 64 << 20;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_its_segment_and_ours_stay_as_they_are() {
        let digest = Sha256::of(b"");
        assert_eq!(segment("demo-node_2.index"), "demo-node_2.index");
        assert_eq!(metadata("../a?#%\0é", 3), "metadata/3...%2Fa%3F%23%25%00%C3%A9.json");
        assert_eq!(kept("/a"), "%2Fa.json");
        assert_eq!(target("a/b.c", &digest), format!("targets/a/{digest}.b.c"));
        assert_eq!(target("b c", &digest), format!("targets/{digest}.b%20c"));
    }
}
