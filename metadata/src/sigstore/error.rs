//! Why a bundle, a trusted root or a policy is not believed.

use crate::dsse::BadEnvelope;

pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a bundle, a trusted root or a policy is not believed. Trying again does not help with any of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// More bytes than are ever read.
    #[error("the {what} is longer than {limit} bytes")]
    TooLong {
        /// What was read.
        what: &'static str,
        /// The limit, in bytes.
        limit: u64,
    },
    /// More log entries or timestamps than are ever checked.
    #[error("the bundle has {0} log entries or timestamps; at most {limit} are read", limit = super::limit::EVIDENCE)]
    TooMuchEvidence(usize),
    /// Not JSON, or JSON of another shape.
    #[error("the {what} is malformed")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// Where it went wrong.
        #[source]
        cause: Cause,
    },
    /// Well formed, but of a kind that is not there.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The trusted root contradicts itself, or holds keys that cannot be used.
    #[error("the trusted root cannot be used")]
    BadTrustedRoot(#[source] Cause),
    /// A policy that names nobody, or somebody without a name.
    #[error("the policy cannot be used: {0}")]
    BadPolicy(&'static str),
    /// The certificate names a signer whom the policy does not list.
    #[error("signed in the name of {identity:?} of {issuer:?}, whom the policy does not list")]
    Unlisted {
        /// The identity that the certificate claims.
        identity: String,
        /// The issuer that the certificate claims.
        issuer: String,
    },
    /// Signature, certificate, log entry or timestamp does not verify.
    #[error("the bundle does not verify")]
    Refused(#[source] Cause),
    /// The bundle has evidence that only a trusted root can judge, and none was given.
    #[error(
        "the bundle has a certificate, log entries or timestamps, but no trusted root is there to judge them"
    )]
    NoTrustedRoot,
    /// The signed statement is malformed or about something else.
    #[error(transparent)]
    Statement(#[from] BadEnvelope),
    /// A key-signed statement must name the key.
    #[error("the statement names {0:?} as its signer, which is no key")]
    NamesNoKey(String),
    /// The statement speaks in another's name.
    #[error("the statement speaks for {named:?}, but was signed by {signed:?}")]
    SpeaksForAnother {
        /// Whom the statement names.
        named: String,
        /// Who signed it.
        signed: String,
    },
}
