//! Statements in Sigstore bundles: who signed them, proven offline against a pinned `trusted_root.json`.
//!
//! ```text
//! signed by            evidence in the bundle              verified by
//! keyless certificate  SCT, log entry or timestamp         verify_keyless + TrustedRoot + Policy
//! a managed key        log entry, perhaps a timestamp      verify_key_signed + TrustedRoot
//! a managed key        none: a bare DSSE in other clothes  verify_key_signed, or from_bundle
//! ```
//!
//! The trusted root is an argument, as bytes: it travels as a TUF target, and a node asks no service of Sigstore for
//! anything. A private instance is another `trusted_root.json`, nothing more. [`Wish`] begins a keyless signature,
//! [`Signed::with_key`] enters a managed key's in a log.
//!
//! Not there, and refused by name: bundles older than v0.3 for statements, several signatures in one envelope,
//! predicates other than our own provenance and verdicts, identities by pattern, keys that are neither P-256 nor
//! Ed25519, an instance without a certificate transparency log, and a quorum of log witnesses.

mod adapter;
mod bare;
mod error;
mod keyless;
mod log;
mod policy;
mod stamp;
mod statement;

pub use adapter::{Artifact, By, SignedBy, TrustedRoot, VerifiedSignature, verify_artifact};
pub use bare::{from_bundle, to_bundle};
pub use error::Error;
pub use keyless::{Certified, Post, Wish};
pub use log::{Rekor, Signed};
pub use policy::{Policy, Signer};
pub use statement::{
    VerifiedStatement, claimed_path, verify_by_anyone, verify_key_signed, verify_keyless,
};

/// The media type of the bundles that we write.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Limits on what is read.
pub mod limit {
    /// A bundle, in bytes.
    pub const BUNDLE: u64 = crate::layout::limit::ATTESTATION;
    /// A `trusted_root.json`, in bytes.
    pub const TRUSTED_ROOT: u64 = crate::trusted_root::MAX;
    /// An answer of a certificate authority or log, or an identity token, in bytes.
    pub const ANSWER: u64 = 256 << 10;
    /// A policy, in bytes.
    pub const POLICY: u64 = 256 << 10;
    /// Log entries and timestamps of a bundle, each: every one costs signatures to check.
    pub const EVIDENCE: usize = 8;
}

/// The bytes, if they are no more than `limit`.
fn within<'a>(what: &'static str, bytes: &'a [u8], limit: u64) -> Result<&'a [u8], Error> {
    if bytes.len() as u64 > limit { Err(Error::TooLong { what, limit }) } else { Ok(bytes) }
}
