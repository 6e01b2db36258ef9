//! A signature on its way into a log: timestamped, entered, and verified as a bundle before anybody sees it.
//!
//! Spoken: Rekor v1 with entries `dsse` 0.0.1, and Rekor v2 with entries `hashedrekord` 0.0.2 over the envelope's
//! encoding, which says nothing about when: there a timestamp (RFC 3161) proves that the certificate was good.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::adapter::{By, TrustedRoot, Unverified};
use super::keyless::{Post, malformed, read};
use super::{Error, MEDIA_TYPE, Policy, Signer, bare, limit, stamp, within};
use crate::attestation::{bind, claimed_signer, stands};
use crate::dsse::{Envelope, IN_TOTO, pae};
use crate::key::Algorithm;
use crate::statement::identity_key;
use crate::{PublicKey, Release, Sha256};

/// Which interface a log speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rekor {
    /// `api/v1/log/entries`: a promise and a time come with the entry.
    V1,
    /// `api/v2/log/entries`: a proof alone. A keyless signature needs a timestamp beside it.
    V2,
}

/// Whom a log entry names.
pub(super) enum Verifier {
    Certificate { der: Vec<u8>, pem: String, signer: Signer },
    Key(PublicKey),
}

/// A signature that is in no log yet. Keyless, it is worth nothing as soon as the certificate has expired.
pub struct Signed {
    by: Verifier,
    payload: Vec<u8>,
    signature: Vec<u8>,
    stamp: Option<Vec<u8>>,
    artifact: Sha256,
}

impl Signed {
    pub(super) fn new(
        by: Verifier,
        key: &PublicKey,
        payload: &[u8],
        signature: &[u8],
        release: Option<&Release>,
    ) -> Result<Self, Error> {
        key.verify(&pae(IN_TOTO, payload), signature)
            .map_err(|cause| Error::Refused(cause.into()))?;
        let artifact = match release {
            Some(release) => bind(payload, release).map(|_| release.artifact.sha256)?,
            None => stands(payload)?,
        };
        let (payload, signature) = (payload.to_vec(), signature.to_vec());
        Ok(Self { by, payload, signature, stamp: None, artifact })
    }

    /// A bare envelope that a managed key has signed. No secret is needed to enter it in a log.
    ///
    /// # Errors
    /// It has not exactly one signature by the key that its statement names, that key is not on P-256 (Rekor v2
    /// takes no Ed25519), or the statement is not about `release`.
    pub fn with_key(envelope: &Envelope, release: Option<&Release>) -> Result<Self, Error> {
        let signature = &bare::only(envelope)?.sig;
        let signature = STANDARD.decode(signature).map_err(|e| malformed("signature", e))?;
        let payload = envelope.claimed_payload()?;
        let named = claimed_signer(&payload)?;
        let key = identity_key(&named).ok_or(Error::NamesNoKey(named))?;
        if key.algorithm() != Algorithm::P256 {
            return Err(Error::Unsupported("a log entry of a key that is not on P-256".into()));
        }
        Self::new(Verifier::Key(key), &key, &payload, &signature, release)
    }

    /// What to post to a timestamp authority, as `application/timestamp-query`.
    pub fn stamp_request(&self) -> Vec<u8> {
        stamp::request(&self.signature)
    }

    /// Takes the answer of the timestamp authority. Whether it is worth anything is seen at the end.
    ///
    /// # Errors
    /// It is too long.
    pub fn stamped(self, answer: &[u8]) -> Result<Self, Error> {
        let answer = within("answer of the timestamp authority", answer, limit::ANSWER)?;
        Ok(Self { stamp: Some(answer.to_vec()), ..self })
    }

    /// What to post to Rekor.
    pub fn request(&self, rekor: Rekor) -> Post {
        match rekor {
            Rekor::V1 => {
                let pem = match &self.by {
                    Verifier::Certificate { pem, .. } => pem.clone(),
                    Verifier::Key(key) => key.to_pem(),
                };
                let body = json!({
                    "apiVersion": "0.0.1",
                    "kind": "dsse",
                    "spec": { "proposedContent": {
                        "envelope": self.envelope().to_string(),
                        "verifiers": [STANDARD.encode(pem)],
                    } },
                });
                Post { path: "api/v1/log/entries", body: body.to_string().into_bytes() }
            }
            Rekor::V2 => {
                let (kind, raw) = match &self.by {
                    Verifier::Certificate { der, .. } => ("x509Certificate", der.clone()),
                    Verifier::Key(key) => ("publicKey", key.to_spki()),
                };
                let digest = Sha256::of(&pae(IN_TOTO, &self.payload));
                let body = json!({ "hashedRekordRequestV002": {
                    "digest": STANDARD.encode(digest.as_bytes()),
                    "signature": {
                        "content": STANDARD.encode(&self.signature),
                        "verifier": {
                            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                            kind: { "rawBytes": STANDARD.encode(raw) },
                        },
                    },
                } });
                Post { path: "api/v2/log/entries", body: body.to_string().into_bytes() }
            }
        }
    }

    /// Takes Rekor's answer: the bundle, once all of it has verified with `root`.
    ///
    /// # Errors
    /// Not an answer of this Rekor, or certificate, SCT, timestamp or log entry do not verify.
    pub fn logged(self, rekor: Rekor, answer: &[u8], root: &TrustedRoot) -> Result<Vec<u8>, Error> {
        let entry = match rekor {
            Rekor::V1 => entry_of_v1(answer)?,
            Rekor::V2 => entry_of_v2(answer)?,
        };
        let mut material = match &self.by {
            Verifier::Certificate { der, .. } => {
                json!({ "certificate": { "rawBytes": STANDARD.encode(der) } })
            }
            Verifier::Key(key) => json!({ "publicKey": { "hint": key.id() } }),
        };
        material["tlogEntries"] = json!([entry]);
        if let Some(stamp) = &self.stamp {
            let stamps = json!([{ "signedTimestamp": STANDARD.encode(stamp) }]);
            material["timestampVerificationData"] = json!({ "rfc3161Timestamps": stamps });
        }
        let bundle = json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": self.envelope(),
        });
        let bundle = bundle.to_string().into_bytes();
        let read = Unverified::parse(&bundle)?;
        match self.by {
            Verifier::Certificate { signer, .. } => {
                let policy = Policy::new(vec![signer])?;
                read.verify(self.artifact, By::Anyone(&policy), root)?;
            }
            Verifier::Key(key) => {
                read.verify(self.artifact, By::Key(&key), root)?;
            }
        }
        Ok(bundle)
    }

    fn envelope(&self) -> Value {
        json!({
            "payload": STANDARD.encode(&self.payload),
            "payloadType": IN_TOTO,
            "signatures": [{ "sig": STANDARD.encode(&self.signature) }],
        })
    }
}

/// Rekor v2 answers in the words of a bundle already. What else it says there is left out.
fn entry_of_v2(answer: &[u8]) -> Result<Value, Error> {
    let mut answer: Map<String, Value> = read("answer of Rekor", answer, limit::ANSWER)?;
    let known = ["logIndex", "logId", "kindVersion", "inclusionProof", "canonicalizedBody"];
    answer.retain(|name, _| known.contains(&name.as_str()));
    Ok(Value::Object(answer))
}

/// Rekor v1's answer in the words of a bundle: digests in base64 instead of hexadecimal, integers as strings.
fn entry_of_v1(answer: &[u8]) -> Result<Value, Error> {
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
