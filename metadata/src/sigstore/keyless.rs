//! Signing without a key of one's own: a certificate for an identity, for minutes, and a log entry that outlives it.
//!
//! ```text
//! Wish ──POST fulcio──▶ Certified ──sign──▶ Signed ──POST rekor──▶ a bundle that verifies
//! ```
//!
//! Pure, like all of this library: the caller makes a key pair that it throws away afterwards, signs with it, and
//! carries two requests to the instance that its configuration names. Why not `sigstore-sign`? It brings an
//! asynchronous HTTP client, and holds the secret key and the network in one place.
//!
//! Spoken: Fulcio v2, and Rekor v1 with entries `dsse` 0.0.1. Rekor v2, which needs a timestamp authority, is not there.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::adapter::{By, TrustedRoot, certificate_claims, verify_artifact};
use super::{Artifact, Error, MEDIA_TYPE, Policy, Signer, limit, within};
use crate::attestation::{bind, claimed_signer};
use crate::dsse::{IN_TOTO, pae};
use crate::{PublicKey, Release, Sha256};

/// A request to a service: JSON to be posted, below the address of the service.
#[derive(Clone)]
pub struct Post {
    /// Below the service's address.
    pub path: &'static str,
    /// The body, `application/json`. Fulcio's holds the identity token, a secret while it is valid: hence no `Debug`.
    pub body: Vec<u8>,
}

/// Somebody with an identity token who wants a certificate for a fresh key.
pub struct Wish {
    token: String,
    subject: String,
    key: PublicKey,
}

impl Wish {
    /// For the bearer of an OIDC `token`, and a key that was made for this one signature.
    ///
    /// # Errors
    /// The token is no JSON web token, names nobody, or an e-mail address that the issuer did not verify.
    pub fn new(token: &str, key: PublicKey) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Claims {
            sub: Option<String>,
            email: Option<String>,
            #[serde(default)]
            email_verified: Value,
        }
        let body = token.trim().split('.').nth(1).unwrap_or_default();
        let body = URL_SAFE_NO_PAD.decode(body).map_err(|e| malformed("identity token", e))?;
        let claims: Claims = read("identity token", &body, limit::ANSWER)?;
        let verified = claims.email_verified == true || claims.email_verified == "true";
        let subject = match (claims.email, claims.sub) {
            (Some(email), _) if verified => email,
            (Some(_), _) => return Err(Error::Unsupported("an unverified e-mail address".into())),
            (None, sub) => {
                sub.ok_or_else(|| Error::Unsupported("a token that names nobody".to_owned()))?
            }
        };
        Ok(Self { token: token.trim().to_owned(), subject, key })
    }

    /// What the fresh key must sign, to prove to Fulcio that the bearer has it.
    pub fn challenge(&self) -> &[u8] {
        self.subject.as_bytes()
    }

    /// What to post to Fulcio.
    pub fn request(&self, proof: &[u8]) -> Post {
        let body = json!({
            "credentials": { "oidcIdentityToken": self.token },
            "publicKeyRequest": {
                "publicKey": { "algorithm": "ECDSA", "content": self.key.to_pem() },
                "proofOfPossession": STANDARD.encode(proof),
            },
        });
        Post { path: "api/v2/signingCert", body: body.to_string().into_bytes() }
    }

    /// Takes Fulcio's answer. Whether the certificate is worth anything is seen at the end.
    ///
    /// # Errors
    /// Not an answer of Fulcio's, or a certificate without a name.
    pub fn certified(self, answer: &[u8]) -> Result<Certified, Error> {
        let answer: Value = read("answer of Fulcio", answer, limit::ANSWER)?;
        // A certificate whose timestamp comes apart from it is not supported by bundles v0.3.
        let pem = answer.pointer("/signedCertificateEmbeddedSct/chain/certificates/0");
        let pem = pem.and_then(Value::as_str).ok_or_else(|| {
            Error::Unsupported("an answer of Fulcio without a certificate with its SCT".into())
        })?;
        let (der, identity, issuer) = certificate_claims(pem)?;
        let signer = Signer { label: identity.clone(), identity, issuer };
        Ok(Certified { der, pem: pem.to_owned(), signer, key: self.key })
    }
}

/// Somebody with a certificate, who has not signed yet.
pub struct Certified {
    der: Vec<u8>,
    pem: String,
    signer: Signer,
    key: PublicKey,
}

impl Certified {
    /// Whom the certificate names. The statement must name them by [`Signer::name`].
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Takes an in-toto statement, and the signature that the fresh key made over its [`pae`].
    ///
    /// # Errors
    /// The fresh key did not sign it, or it is not about `release` or speaks for another.
    pub fn signed(
        self,
        payload: &[u8],
        signature: &[u8],
        release: &Release,
    ) -> Result<Signed, Error> {
        self.key
            .verify(&pae(IN_TOTO, payload), signature)
            .map_err(|cause| Error::Refused(cause.into()))?;
        bind(payload, release)?;
        let (named, signed) = (claimed_signer(payload)?, self.signer.name());
        if named != signed {
            return Err(Error::SpeaksForAnother { named, signed });
        }
        let envelope = json!({
            "payload": STANDARD.encode(payload),
            "payloadType": IN_TOTO,
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        });
        Ok(Signed { certified: self, envelope, artifact: release.artifact.sha256 })
    }
}

/// A signature that is in no log yet: worth nothing as soon as the certificate has expired.
pub struct Signed {
    certified: Certified,
    envelope: Value,
    artifact: Sha256,
}

impl Signed {
    /// What to post to Rekor.
    pub fn request(&self) -> Post {
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": { "proposedContent": {
                "envelope": self.envelope.to_string(),
                "verifiers": [STANDARD.encode(&self.certified.pem)],
            } },
        });
        Post { path: "api/v1/log/entries", body: body.to_string().into_bytes() }
    }

    /// Takes Rekor's answer: the bundle, once all of it has verified with `root`.
    ///
    /// # Errors
    /// Not an answer of Rekor v1, or certificate, SCT or log entry do not verify.
    pub fn logged(self, answer: &[u8], root: &TrustedRoot) -> Result<Vec<u8>, Error> {
        let entry = log_entry(answer)?;
        let bundle = json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "certificate": { "rawBytes": STANDARD.encode(&self.certified.der) },
                "tlogEntries": [entry],
            },
            "dsseEnvelope": self.envelope,
        });
        let bundle = bundle.to_string().into_bytes();
        let policy = Policy::new(vec![self.certified.signer])?;
        verify_artifact(&bundle, Artifact::Digest(self.artifact), By::Anyone(&policy), root)?;
        Ok(bundle)
    }
}

/// Rekor's answer in the words of a bundle: digests in base64 instead of hexadecimal, integers as strings.
fn log_entry(answer: &[u8]) -> Result<Value, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        body: String,
        integrated_time: i64,
        #[serde(rename = "logID")]
        log_id: String,
        log_index: u64,
        verification: Verification,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Verification {
        inclusion_proof: Proof,
        signed_entry_timestamp: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Proof {
        checkpoint: String,
        hashes: Vec<String>,
        log_index: u64,
        root_hash: String,
        tree_size: u64,
    }
    let what = "answer of Rekor";
    let answer: std::collections::BTreeMap<String, Entry> = read(what, answer, limit::ANSWER)?;
    let mut entries = answer.into_values();
    let (Some(entry), None) = (entries.next(), entries.next()) else {
        return Err(Error::Unsupported("an answer of Rekor without exactly one entry".into()));
    };
    let base64 = |digits: &String| {
        hex::decode(digits).map(|raw| STANDARD.encode(raw)).map_err(|e| malformed(what, e))
    };
    let Verification { inclusion_proof: proof, signed_entry_timestamp } = entry.verification;
    Ok(json!({
        "logIndex": entry.log_index.to_string(),
        "logId": { "keyId": base64(&entry.log_id)? },
        "kindVersion": { "kind": "dsse", "version": "0.0.1" },
        "integratedTime": entry.integrated_time.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": signed_entry_timestamp },
        "inclusionProof": {
            "logIndex": proof.log_index.to_string(),
            "rootHash": base64(&proof.root_hash)?,
            "treeSize": proof.tree_size.to_string(),
            "hashes": proof.hashes.iter().map(base64).collect::<Result<Vec<_>, _>>()?,
            "checkpoint": { "envelope": proof.checkpoint },
        },
        "canonicalizedBody": entry.body,
    }))
}

fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8], limit: u64) -> Result<T, Error> {
    serde_json::from_slice(within(what, bytes, limit)?).map_err(|e| malformed(what, e))
}

fn malformed(what: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Malformed { what, cause: Box::new(cause) }
}
