//! Untrusted bundles in, proofs out: the crate `sigstore-verify` behind our rules.
//!
//! Stricter than the crate: sizes and the amount of evidence are limited, an identity is never left open,
//! certificate, SCT and log are never skipped, and a statement has one log entry, with its proof of inclusion.
//! The crate itself looks at the clock, for log entries from the future and log keys that have expired, so `now`
//! is no argument here.

use jiff::Timestamp;
use sigstore_verify::crypto::parse_certificate_info;
use sigstore_verify::trust_root::TrustedRoot as Material;
use sigstore_verify::types::bundle::VerificationMaterialContent;
use sigstore_verify::types::{
    self, Bundle, DerCertificate, DerPublicKey, MediaType, Sha256Hash, SignatureContent,
};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, Verifier};

use super::error::Cause;
use super::{Error, Policy, Signer, limit, within};
use crate::{PublicKey, Sha256};

/// The pinned keys of a Sigstore instance: its certificate authorities, logs and timestamp authorities.
pub struct TrustedRoot(Verifier);

impl TrustedRoot {
    /// Reads a `trusted_root.json`. That these are the right bytes is for the caller to prove: a TUF target does.
    ///
    /// # Errors
    /// Longer than [`limit::TRUSTED_ROOT`], malformed, or with keys or windows that make no sense.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let text = text("trusted root", bytes, limit::TRUSTED_ROOT)?;
        let material = Material::from_json(text).map_err(|e| malformed("trusted root", e))?;
        Verifier::new(&material).map(Self).map_err(|e| Error::BadTrustedRoot(e.into()))
    }
}

/// What a bundle must be about.
#[derive(Clone, Copy)]
pub enum Artifact<'a> {
    /// The bytes themselves.
    Bytes(&'a [u8]),
    /// Their digest. Not enough for an Ed25519 signature over the bytes: that needs all of them.
    Digest(Sha256),
}

/// Who must have signed.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// One of these, with a certificate.
    Anyone(&'a Policy),
    /// This key, with an entry in a log.
    Key(&'a PublicKey),
}

/// Who did sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// The holder of a certificate, as the policy lists them.
    Keyless(Signer),
    /// The holder of this key, whoever that is.
    Key(PublicKey),
}

/// A signature that has been verified: the artifact, the signer, and its place in a log.
#[derive(Clone, Debug)]
pub struct VerifiedSignature {
    by: SignedBy,
    times: Vec<Timestamp>,
}

impl VerifiedSignature {
    /// Who signed.
    pub fn by(&self) -> &SignedBy {
        &self.by
    }

    /// When, as logs and timestamp authorities attest. Empty for a managed key whose log keeps no time.
    pub fn times(&self) -> &[Timestamp] {
        &self.times
    }
}

/// Verifies a bundle of any version (v0.1 to v0.3) about an artifact: a signature over it, or an in-toto statement
/// with it among its subjects. What the statement says is not looked at: for that, see [`super::verify_keyless`].
///
/// # Errors
/// The bundle is too big, malformed, of an unsupported kind, or does not verify.
pub fn verify_artifact(
    bundle: &[u8],
    artifact: Artifact<'_>,
    by: By<'_>,
    root: &TrustedRoot,
) -> Result<VerifiedSignature, Error> {
    verify(&parse(bundle)?, artifact, by, root)
}

/// A bundle with one in-toto envelope, as v0.3 writes it: nothing in it has been verified.
pub(super) struct Unverified(Bundle);

impl Unverified {
    pub(super) fn parse(bundle: &[u8]) -> Result<Self, Error> {
        let bundle = parse(bundle)?;
        if bundle.media_type() != MediaType::Bundle0_3 {
            return Err(Error::Unsupported(format!("a statement in {}", bundle.media_type())));
        }
        // One signing event has one entry. The crate would accept a second one that has a promise but no proof.
        let entries = &bundle.verification_material.tlog_entries;
        if entries.len() > 1 || entries.iter().any(|entry| entry.inclusion_proof.is_none()) {
            return Err(Error::Unsupported("more than one log entry, or one unproven,".to_owned()));
        }
        match &bundle.content {
            SignatureContent::DsseEnvelope(_) => Ok(Self(bundle)),
            _ => Err(Error::Unsupported("a bundle without a statement".to_owned())),
        }
    }

    /// Whether a log or a timestamp authority has anything to say about it.
    pub(super) fn has_evidence(&self) -> bool {
        evidence(&self.0) != 0
    }

    /// Whether a managed key is said to have signed it.
    pub(super) fn is_key_signed(&self) -> bool {
        matches!(self.0.verification_material.content, VerificationMaterialContent::PublicKey(_))
    }

    /// Whom the certificate claims to speak for, by the name of its identity.
    pub(super) fn claimed_signer(&self) -> Result<Signer, Error> {
        let (identity, issuer) = claimed_identity(&self.0)?;
        Ok(Signer { label: identity.clone(), identity, issuer })
    }

    /// Payload type, payload and signature, unverified.
    pub(super) fn envelope(&self) -> (&str, &[u8], &[u8]) {
        match &self.0.content {
            SignatureContent::DsseEnvelope(envelope) => (
                &envelope.payload_type,
                envelope.payload.as_bytes(),
                envelope.signature.sig.as_bytes(),
            ),
            _ => ("", &[], &[]),
        }
    }

    /// The exact payload, and who is proven to have signed it about `artifact`.
    pub(super) fn verify(
        &self,
        artifact: Sha256,
        by: By<'_>,
        root: &TrustedRoot,
    ) -> Result<(&[u8], VerifiedSignature), Error> {
        let signature = verify(&self.0, Artifact::Digest(artifact), by, root)?;
        Ok((self.envelope().1, signature))
    }
}

fn parse(bundle: &[u8]) -> Result<Bundle, Error> {
    let text = text("bundle", bundle, limit::BUNDLE)?;
    let bundle = Bundle::from_json(text).map_err(|e| malformed("bundle", e))?;
    let evidence = evidence(&bundle);
    if evidence > limit::EVIDENCE { Err(Error::TooMuchEvidence(evidence)) } else { Ok(bundle) }
}

fn evidence(bundle: &Bundle) -> usize {
    let material = &bundle.verification_material;
    let timestamps = &material.timestamp_verification_data.rfc3161_timestamps;
    material.tlog_entries.len() + timestamps.len()
}

fn verify(
    bundle: &Bundle,
    artifact: Artifact<'_>,
    by: By<'_>,
    root: &TrustedRoot,
) -> Result<VerifiedSignature, Error> {
    let artifact = match artifact {
        Artifact::Bytes(bytes) => types::Artifact::from_blob(bytes),
        Artifact::Digest(digest) => {
            types::Artifact::from_digest(Sha256Hash::new(*digest.as_bytes()))
        }
    };
    let refused = |e: sigstore_verify::Error| Error::Refused(e.into());
    match by {
        By::Anyone(policy) => {
            let signer = claimed_signer(bundle, policy)?;
            let exact = VerificationPolicy::new(signer.identity.as_str(), signer.issuer.as_str());
            let result = root.0.verify(artifact, bundle, &exact).map_err(refused)?;
            let proven = result.certificate_verified()
                && result.sct_verified()
                && result.tlog_verified()
                && result.identity_policy_checked();
            if !proven {
                return Err(Error::Refused("certificate, SCT, log or identity unchecked".into()));
            }
            let times = result.verified_timestamps().to_vec();
            Ok(VerifiedSignature { by: SignedBy::Keyless(signer.clone()), times })
        }
        By::Key(key) => {
            let spki = DerPublicKey::new(key.to_spki());
            let exact = PublicKeyVerificationPolicy::new(spki);
            let result = root.0.verify(artifact, bundle, &exact).map_err(refused)?;
            if !result.tlog_verified() {
                return Err(Error::Refused("log unchecked".into()));
            }
            let times = result.verified_timestamps().to_vec();
            Ok(VerifiedSignature { by: SignedBy::Key(*key), times })
        }
    }
}

/// Whom of the policy the certificate claims to speak for. A claim only: it picks what to verify with.
fn claimed_signer<'p>(bundle: &Bundle, policy: &'p Policy) -> Result<&'p Signer, Error> {
    let (identity, issuer) = claimed_identity(bundle)?;
    policy.find(&identity, &issuer).ok_or(Error::Unlisted { identity, issuer })
}

fn claimed_identity(bundle: &Bundle) -> Result<(String, String), Error> {
    let certificate = bundle.signing_certificate();
    let certificate = certificate
        .ok_or_else(|| Error::Unsupported("a bundle without a certificate here".to_owned()))?;
    let claims = parse_certificate_info(certificate).map_err(|e| malformed("certificate", e))?;
    let identity = claims.identity.map(|i| i.as_str().to_owned()).unwrap_or_default();
    Ok((identity, claims.issuer.unwrap_or_default()))
}

/// A certificate's DER, identity and issuer, from PEM. Claims only: nothing has vouched for them.
pub(super) fn certificate_claims(pem: &str) -> Result<(Vec<u8>, String, String), Error> {
    let der = DerCertificate::from_pem(pem).map_err(|e| malformed("certificate", e))?;
    let claims = parse_certificate_info(&der).map_err(|e| malformed("certificate", e))?;
    match (claims.identity, claims.issuer) {
        (Some(identity), Some(issuer)) => {
            Ok((der.as_bytes().to_vec(), identity.as_str().to_owned(), issuer))
        }
        _ => Err(Error::Unsupported("a certificate without identity and issuer".to_owned())),
    }
}

fn text<'a>(what: &'static str, bytes: &'a [u8], limit: u64) -> Result<&'a str, Error> {
    std::str::from_utf8(within(what, bytes, limit)?).map_err(|e| malformed(what, e))
}

fn malformed(what: &'static str, cause: impl Into<Cause>) -> Error {
    Error::Malformed { what, cause: cause.into() }
}
