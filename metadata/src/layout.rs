//! Where things lie in a published repository: static files, nothing else.
//!
//! ```text
//! metadata/N.root.json  N.targets.json  N.PRODUCT.json  N.snapshot.json  timestamp.json
//! targets/PRODUCT/VERSION/SHA256.PRODUCT-VERSION-PLATFORM.tar.zst
//! inputs/SHA256                          every locked input, source included
//! attestations/SHA256/index.json         names of the envelopes about the artifact SHA256 (of its tar)
//! attestations/SHA256/SHA256.dsse.json   one self-signed verdict or provenance
//! signatures/N.PRODUCT.signed            the exact bytes that keyholders signed
//! signatures/N.PRODUCT.KEYID8.minisig    one keyholder's signature of them, for the stock tool
//! ```

use crate::{KeyId, Sha256};

/// Versioned metadata: `metadata/N.ROLE.json`.
pub fn metadata(role: &str, version: u64) -> String {
    format!("metadata/{version}.{role}.json")
}

/// The one unversioned metadata file, renamed in last.
pub const TIMESTAMP: &str = "metadata/timestamp.json";

/// A consistent target: `targets/DIR/SHA256.NAME`. `path` is a target path, `digest` of the file as served.
pub fn target(path: &str, digest: &Sha256) -> String {
    match path.rsplit_once('/') {
        Some((dir, name)) => format!("targets/{dir}/{digest}.{name}"),
        None => format!("targets/{digest}.{path}"),
    }
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
    /// Envelopes read about one artifact.
    pub const ATTESTATIONS: usize = 256;
    /// New roots followed in one refresh.
    pub const ROOTS: u64 = 1024;
    /// An artifact as served, and unpacked.
    pub const ARTIFACT: u64 = 4 << 30;
    /// A signing request, with its chain.
    pub const REQUEST: u64 = 64 << 20;
}
