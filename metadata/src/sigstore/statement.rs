//! Statements about a release, from bundles: signature, signer, subject and predicate bound to each other.

use jiff::Timestamp;

use super::adapter::Unverified;
use super::{By, Error, Policy, SignedBy, TrustedRoot};
use crate::Release;
use crate::attestation::{self, Says};
use crate::dsse::{BadEnvelope, IN_TOTO, pae};
use crate::statement::{Statement, Subject, identity, identity_key};

/// A statement about one release, of which signature, signer, subject and predicate have been checked.
#[derive(Clone, Debug)]
pub struct VerifiedStatement {
    by: SignedBy,
    times: Vec<Timestamp>,
    logged: bool,
    says: Says,
}

impl VerifiedStatement {
    /// Who signed: the line of the policy that let it in, or the key that the statement names.
    pub fn by(&self) -> &SignedBy {
        &self.by
    }

    /// When it was signed, as logs and timestamp authorities attest; empty where nobody does.
    pub fn times(&self) -> &[Timestamp] {
        &self.times
    }

    /// Whether it is proven to be in a log of the trusted root.
    pub fn is_logged(&self) -> bool {
        self.logged
    }

    /// What it says about the release.
    pub fn says(&self) -> &Says {
        &self.says
    }
}

impl SignedBy {
    /// How a statement names its signer: `sigstore:ISSUER#IDENTITY`, or a key as everywhere in Countersign.
    pub fn name(&self) -> String {
        match self {
            Self::Keyless(signer) => signer.name(),
            Self::Key(key) => identity(key),
        }
    }
}

/// The target path that a bundle's statement claims to be about. Nothing is verified: only good for finding the
/// release to verify it with.
///
/// # Errors
/// Not a bundle v0.3 with a statement about exactly one artifact.
pub fn claimed_path(bundle: &[u8]) -> Result<String, Error> {
    let bundle = Unverified::parse(bundle)?;
    let statement: Statement<serde_json::Value> = serde_json::from_slice(bundle.envelope().1)
        .map_err(|e| Error::Malformed { what: "statement", cause: e.into() })?;
    match <[Subject; 1]>::try_from(statement.subject) {
        Ok([subject]) => Ok(subject.name),
        Err(several) => {
            Err(Error::Unsupported(format!("a statement of {} subjects", several.len())))
        }
    }
}

/// Verifies a keyless statement about `release` by a signer whom `policy` lists.
///
/// The certificate chain, its SCT, the log entry and a signing time must all verify with `root`; the statement must
/// be about this release alone and speak for the signer of the certificate.
///
/// # Errors
/// Any of that does not hold, or the bundle is of a kind that is not supported.
pub fn verify_keyless(
    bundle: &[u8],
    release: &Release,
    policy: &Policy,
    root: &TrustedRoot,
) -> Result<VerifiedStatement, Error> {
    let bundle = Unverified::parse(bundle)?;
    if bundle.is_key_signed() {
        return Err(Error::Unsupported("a key-signed bundle where a policy lists people".into()));
    }
    let (payload, signature) = bundle.verify(release.artifact.sha256, By::Anyone(policy), root)?;
    let says = attestation::bind(payload, release)?;
    let (named, signed) = (attestation::claimed_signer(payload)?, signature.by().name());
    if named != signed {
        return Err(Error::SpeaksForAnother { named, signed });
    }
    let (by, times) = (signature.by().clone(), signature.times().to_vec());
    Ok(VerifiedStatement { by, times, logged: true, says })
}

/// Verifies a statement about `release` by whoever signed it: a certificate's identity, or the key that it names.
///
/// It proves who that was, and nothing about what their word is worth: that is for the caller to judge. As everywhere,
/// a certificate needs a `root`.
///
/// # Errors
/// As [`verify_keyless`] and [`verify_key_signed`].
pub fn verify_by_anyone(
    bundle: &[u8],
    release: &Release,
    root: Option<&TrustedRoot>,
) -> Result<VerifiedStatement, Error> {
    let read = Unverified::parse(bundle)?;
    if read.is_key_signed() {
        return verify_key_signed(bundle, release, root);
    }
    let policy = Policy::new(vec![read.claimed_signer()?])?;
    verify_keyless(bundle, release, &policy, root.ok_or(Error::NoTrustedRoot)?)
}

/// Verifies a key-signed statement about `release` with the key that it names itself, as
/// [`attestation::verify`](crate::attestation::verify) does: whether that key is anybody's is for the caller to judge.
///
/// Without log entry and timestamp the signature alone is checked, and needs no `root`. What evidence there is must
/// verify: a broken log entry is never ignored.
///
/// # Errors
/// The signature or some evidence does not verify, there is evidence but no `root`, or the statement is about
/// something else or names no key.
pub fn verify_key_signed(
    bundle: &[u8],
    release: &Release,
    root: Option<&TrustedRoot>,
) -> Result<VerifiedStatement, Error> {
    let bundle = Unverified::parse(bundle)?;
    if !bundle.is_key_signed() {
        return Err(Error::Unsupported("a certificate where a managed key is expected".into()));
    }
    let (payload_type, payload, signature) = bundle.envelope();
    if payload_type != IN_TOTO {
        return Err(BadEnvelope::OtherType(payload_type.to_owned()).into());
    }
    let named = attestation::claimed_signer(payload)?;
    let key = identity_key(&named).ok_or(Error::NamesNoKey(named))?;
    let logged = bundle.has_evidence();
    let times = if logged {
        let root = root.ok_or(Error::NoTrustedRoot)?;
        bundle.verify(release.artifact.sha256, By::Key(&key), root)?.1.times().to_vec()
    } else {
        key.verify(&pae(payload_type, payload), signature)
            .map_err(|cause| Error::Refused(cause.into()))?;
        Vec::new()
    };
    let says = attestation::bind(payload, release)?;
    Ok(VerifiedStatement { by: SignedBy::Key(key), times, logged, says })
}
