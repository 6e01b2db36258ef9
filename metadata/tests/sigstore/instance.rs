//! A private Sigstore instance in memory: certificate authority, certificate transparency log, Rekor v1 and v2,
//! timestamp authority.
//!
//! It signs what real services would sign, with keys made for the test. Written from RFC 3161, 5280, 5652, 6962 and
//! Rekor's documentation, not from the library under test.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_metadata::dsse::{IN_TOTO, pae};
use countersign_metadata::sigstore::{MEDIA_TYPE, Signer};
use countersign_metadata::{PublicKey, Sha256};
use serde::Serialize;
use serde_json::{Value, json};

use super::der::{der, extension, id, oid, seq};

/// When everything was signed: 2026-01-01T12:00:00Z.
pub(crate) const SIGNED_AT: i64 = 1_767_268_800;

/// A P-256 key pair.
pub(crate) struct Pair(EcdsaKeyPair);

impl Pair {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::p256(self.0.public_key().as_ref()).unwrap()
    }

    fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }
}

/// The services of an instance.
pub(crate) struct Instance {
    authority: Pair,
    certificates: Pair,
    rekor: Pair,
    clock: Pair,
}

impl Instance {
    pub(crate) fn new() -> Self {
        let [authority, certificates, rekor, clock] = [(); 4].map(|()| Pair::new());
        Self { authority, certificates, rekor, clock }
    }

    /// Its `trusted_root.json`.
    pub(crate) fn trusted_root(&self) -> Vec<u8> {
        self.trusted_root_until(None)
    }

    /// Its `trusted_root.json`, all keys of which were good until then.
    pub(crate) fn trusted_root_until(&self, end: Option<&str>) -> Vec<u8> {
        let mut good = json!({ "start": "2025-01-01T00:00:00Z" });
        if let Some(end) = end {
            good["end"] = end.into();
        }
        let authority = |name: &str, certificates: &[Vec<u8>]| {
            let certificates: Vec<_> = certificates
                .iter()
                .map(|der| json!({ "rawBytes": STANDARD.encode(der) }))
                .collect();
            json!({
                "subject": { "organization": "example", "commonName": name },
                "uri": format!("https://{name}.example"),
                "certChain": { "certificates": certificates },
                "validFor": good,
            })
        };
        let log = |pair: &Pair| {
            let spki = pair.spki();
            json!({
                "baseUrl": "https://log.example",
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(&spki),
                    "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": good,
                },
                "logId": { "keyId": STANDARD.encode(Sha256::of(&spki).as_bytes()) },
            })
        };
        let root = json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(&self.rekor)],
            "certificateAuthorities": [authority("authority", &[self.root_certificate()])],
            "ctlogs": [log(&self.certificates)],
            "timestampAuthorities": [authority("clock", &[self.clock_certificate(), self.root_certificate()])],
        });
        serde_json::to_vec(&root).unwrap()
    }

    /// A keyless bundle: a fresh key, its certificate for `signer`, the signature, its log entry.
    pub(crate) fn keyless(&self, signer: &Signer, statement: &impl Serialize) -> Value {
        let pair = Pair::new();
        let certificate = self.leaf(&pair.spki(), signer);
        let verifier = pem("CERTIFICATE", &certificate);
        let material = json!({ "certificate": { "rawBytes": STANDARD.encode(certificate) } });
        self.logged(&pair, &verifier, material, statement)
    }

    /// A bundle signed with a managed key, and its log entry.
    pub(crate) fn key_signed(&self, pair: &Pair, statement: &impl Serialize) -> Value {
        let verifier = pem("PUBLIC KEY", &pair.spki());
        self.logged(pair, &verifier, json!({ "publicKey": { "hint": "any" } }), statement)
    }

    fn logged(
        &self,
        pair: &Pair,
        verifier: &str,
        mut material: Value,
        statement: &impl Serialize,
    ) -> Value {
        let payload = serde_json::to_vec(statement).unwrap();
        let signature = STANDARD.encode(pair.sign(&pae(IN_TOTO, &payload)));
        material["tlogEntries"] = json!([self.entry(&payload, &signature, verifier)]);
        json!({
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": STANDARD.encode(&payload),
                "payloadType": IN_TOTO,
                "signatures": [{ "sig": signature }],
            },
        })
    }

    /// Fulcio's answer to `request`: a certificate for `signer`, if the key proves that it signed `subject`.
    pub(crate) fn fulcio(&self, request: &[u8], subject: &str, signer: &Signer) -> Vec<u8> {
        let request: Value = serde_json::from_slice(request).unwrap();
        let asked = &request["publicKeyRequest"];
        let key = PublicKey::from_pem(asked["publicKey"]["content"].as_str().unwrap()).unwrap();
        let proof = STANDARD.decode(asked["proofOfPossession"].as_str().unwrap()).unwrap();
        key.verify(subject.as_bytes(), &proof).unwrap();
        let chain = [self.leaf(&key.to_spki(), signer), self.root_certificate()];
        let chain = chain.map(|der| pem("CERTIFICATE", &der));
        let answer = json!({
            "signedCertificateEmbeddedSct": { "chain": { "certificates": chain } },
        });
        serde_json::to_vec(&answer).unwrap()
    }

    /// Rekor v1's answer to `request`.
    pub(crate) fn rekor(&self, request: &[u8]) -> Value {
        let request: Value = serde_json::from_slice(request).unwrap();
        assert_eq!((&request["kind"], &request["apiVersion"]), (&json!("dsse"), &json!("0.0.1")));
        let proposed = &request["spec"]["proposedContent"];
        let envelope: Value = serde_json::from_str(proposed["envelope"].as_str().unwrap()).unwrap();
        let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
        let signature = envelope["signatures"][0]["sig"].as_str().unwrap();
        let verifier = STANDARD.decode(proposed["verifiers"][0].as_str().unwrap()).unwrap();
        let logged = self.log(&payload, signature, str::from_utf8(&verifier).unwrap());
        let uuid = hex::encode(logged.root.as_bytes());
        json!({ uuid: {
            "body": logged.body,
            "integratedTime": SIGNED_AT,
            "logID": logged.log,
            "logIndex": 0,
            "verification": {
                "inclusionProof": {
                    "checkpoint": logged.checkpoint, "hashes": [], "logIndex": 0,
                    "rootHash": logged.root, "treeSize": 1,
                },
                "signedEntryTimestamp": logged.promise,
            },
        } })
    }

    /// Rekor v2's answer to `request`.
    pub(crate) fn rekor_v2(&self, request: &[u8]) -> Value {
        let request: Value = serde_json::from_slice(request).unwrap();
        let asked = &request["hashedRekordRequestV002"];
        assert_eq!(asked["signature"]["verifier"]["keyDetails"], "PKIX_ECDSA_P256_SHA_256");
        let body = json!({
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": { "hashedRekordV002": {
                "data": { "algorithm": "SHA2_256", "digest": asked["digest"] },
                "signature": asked["signature"],
            } },
        });
        let logged = self.log_leaf(&serde_json::to_vec(&body).unwrap());
        json!({
            "logIndex": "0",
            "logId": { "keyId": STANDARD.encode(logged.log.as_bytes()) },
            "kindVersion": { "kind": "hashedrekord", "version": "0.0.2" },
            "integratedTime": "0",
            "inclusionPromise": null,
            "inclusionProof": {
                "logIndex": "0", "rootHash": STANDARD.encode(logged.root.as_bytes()),
                "treeSize": "1", "hashes": [],
                "checkpoint": { "envelope": logged.checkpoint },
            },
            "canonicalizedBody": logged.body,
        })
    }

    /// The timestamp authority's answer to `query` (RFC 3161, sections 2.4.1 and 2.4.2).
    pub(crate) fn stamp(&self, query: &[u8]) -> Vec<u8> {
        assert_eq!((query.len(), &query[..7]), (59, &[0x30, 0x39, 2, 1, 1, 0x30, 0x31][..]));
        let sha256 = seq(&[&oid(id::SHA256)]);
        let time = der(0x18, &[b"20260101120000Z"]);
        let info =
            seq(&[&der(2, &[&[1]]), &oid(&[0x2a, 3, 4]), &query[5..56], &der(2, &[&[1]]), &time]);
        // RFC 5652, section 5.4: signed as a SET, sent as [0].
        let attributes = [
            seq(&[&oid(id::CONTENT_TYPE), &der(0x31, &[&oid(id::TST_INFO)])]),
            seq(&[
                &oid(id::MESSAGE_DIGEST),
                &der(0x31, &[&der(4, &[Sha256::of(&info).as_bytes()])]),
            ]),
        ]
        .concat();
        let signature = self.clock.sign(&der(0x31, &[&attributes]));
        let signer = seq(&[
            &der(2, &[&[1]]),
            &seq(&[&name(), &der(2, &[&[1]])]),
            &sha256,
            &der(0xa0, &[&attributes]),
            &seq(&[&oid(id::ECDSA_SHA256)]),
            &der(4, &[&signature]),
        ]);
        let content = seq(&[&oid(id::TST_INFO), &der(0xa0, &[&der(4, &[&info])])]);
        let data =
            seq(&[&der(2, &[&[3]]), &der(0x31, &[&sha256]), &content, &der(0x31, &[&signer])]);
        let token = seq(&[&oid(id::SIGNED_DATA), &der(0xa0, &[&data])]);
        seq(&[&seq(&[&der(2, &[&[0]])]), &token])
    }

    /// An entry as a bundle tells it.
    fn entry(&self, payload: &[u8], signature: &str, verifier: &str) -> Value {
        let logged = self.log(payload, signature, verifier);
        json!({
            "logIndex": "0",
            "logId": { "keyId": STANDARD.encode(logged.log.as_bytes()) },
            "kindVersion": { "kind": "dsse", "version": "0.0.1" },
            "integratedTime": SIGNED_AT.to_string(),
            "inclusionPromise": { "signedEntryTimestamp": logged.promise },
            "inclusionProof": {
                "logIndex": "0", "rootHash": STANDARD.encode(logged.root.as_bytes()),
                "treeSize": "1", "hashes": [],
                "checkpoint": { "envelope": logged.checkpoint },
            },
            "canonicalizedBody": logged.body,
        })
    }

    /// Logs an entry of kind `dsse` 0.0.1, the only leaf of its log.
    fn log(&self, payload: &[u8], signature: &str, verifier: &str) -> Logged {
        let hash = json!({ "algorithm": "sha256", "value": Sha256::of(payload) });
        let body = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": hash,
                "payloadHash": hash,
                "signatures": [{ "signature": signature, "verifier": STANDARD.encode(verifier) }],
            },
        });
        self.log_leaf(&serde_json::to_vec(&body).unwrap())
    }

    /// Logs whatever this is, as the only leaf of the log.
    fn log_leaf(&self, leaf: &[u8]) -> Logged {
        let (body, log) = (STANDARD.encode(leaf), Sha256::of(&self.rekor.spki()));
        // Members in the order of canonical JSON.
        let promised =
            json!({ "body": body, "integratedTime": SIGNED_AT, "logID": log, "logIndex": 0 });
        let promise = self.rekor.sign(&serde_json::to_vec(&promised).unwrap());
        // RFC 6962, section 2.1: the tree of one leaf.
        let root = Sha256::of(&[&[0], leaf].concat());
        let note = format!("log.example\n1\n{}\n", STANDARD.encode(root.as_bytes()));
        let signed = [&log.as_bytes()[..4], &self.rekor.sign(note.as_bytes())].concat();
        let checkpoint = format!("{note}\n\u{2014} log.example {}\n", STANDARD.encode(signed));
        Logged { body, log, root, checkpoint, promise: STANDARD.encode(promise) }
    }

    fn root_certificate(&self) -> Vec<u8> {
        let key = key_identifier(&self.authority.spki());
        // KeyUsage keyCertSign, cRLSign.
        let extensions = [
            extension(id::BASIC_CONSTRAINTS, true, &seq(&[&der(1, &[&[0xff]])])),
            extension(id::KEY_USAGE, true, &der(3, &[&[1, 6]])),
            extension(id::SUBJECT_KEY, false, &der(4, &[&key])),
            extension(id::AUTHORITY_KEY, false, &seq(&[&der(0x80, &[&key])])),
        ]
        .concat();
        let validity = [utc("250101000000Z"), utc("350101000000Z")].concat();
        let body = certificate_body(&validity, &name(), &self.authority.spki(), &extensions);
        certificate(&body, &self.authority)
    }

    fn clock_certificate(&self) -> Vec<u8> {
        let spki = self.clock.spki();
        let authority = der(0x80, &[&key_identifier(&self.authority.spki())]);
        let extensions = [
            extension(id::KEY_USAGE, true, &der(3, &[&[7, 0x80]])),
            extension(id::EXTENDED_KEY_USAGE, true, &seq(&[&oid(id::TIME_STAMPING)])),
            extension(id::SUBJECT_KEY, false, &der(4, &[&key_identifier(&spki)])),
            extension(id::AUTHORITY_KEY, false, &seq(&[&authority])),
        ]
        .concat();
        let validity = [utc("250101000000Z"), utc("350101000000Z")].concat();
        certificate(&certificate_body(&validity, &seq(&[]), &spki, &extensions), &self.authority)
    }

    /// A short-lived certificate with its SCT.
    fn leaf(&self, spki: &[u8], signer: &Signer) -> Vec<u8> {
        // GeneralName: a URI is [6], an e-mail address [1].
        let tag = if signer.identity.contains("://") { 0x86 } else { 0x81 };
        let identity = seq(&[&der(tag, &[signer.identity.as_bytes()])]);
        let authority = der(0x80, &[&key_identifier(&self.authority.spki())]);
        // KeyUsage digitalSignature.
        let extensions = [
            extension(id::KEY_USAGE, true, &der(3, &[&[7, 0x80]])),
            extension(id::EXTENDED_KEY_USAGE, false, &seq(&[&oid(id::CODE_SIGNING)])),
            extension(id::SUBJECT_KEY, false, &der(4, &[&key_identifier(spki)])),
            extension(id::AUTHORITY_KEY, false, &seq(&[&authority])),
            extension(id::SUBJECT_ALT_NAME, true, &identity),
            extension(id::OLD_ISSUER, false, signer.issuer.as_bytes()),
            extension(id::ISSUER, false, &der(0x0c, &[signer.issuer.as_bytes()])),
        ]
        .concat();
        let validity = [utc("260101115500Z"), utc("260101120500Z")].concat();
        let body = |extensions: &[u8]| certificate_body(&validity, &seq(&[]), spki, extensions);
        let sct = self.sct(&body(&extensions));
        let list = der(4, &[&prefixed(&prefixed(&sct))]);
        let extensions = [extensions, extension(id::SCT_LIST, false, &list)].concat();
        certificate(&body(&extensions), &self.authority)
    }

    /// RFC 6962, sections 3.2 and 3.3: a timestamp over the certificate as it is without the timestamp.
    fn sct(&self, body: &[u8]) -> Vec<u8> {
        let at = (SIGNED_AT as u64 * 1000).to_be_bytes();
        let issuer = Sha256::of(&self.authority.spki());
        let length = &(body.len() as u32).to_be_bytes()[1..];
        let signed = [&[0, 0][..], &at, &[0, 1], issuer.as_bytes(), length, body, &[0, 0]].concat();
        let signature = prefixed(&self.certificates.sign(&signed));
        let log = Sha256::of(&self.certificates.spki());
        [&[0][..], log.as_bytes(), &at, &[0, 0], &[4, 3], &signature].concat()
    }
}

/// What a log knows of an entry.
struct Logged {
    body: String,
    log: Sha256,
    root: Sha256,
    checkpoint: String,
    promise: String,
}

fn certificate_body(validity: &[u8], subject: &[u8], spki: &[u8], extensions: &[u8]) -> Vec<u8> {
    seq(&[
        &der(0xa0, &[&der(2, &[&[2]])]),
        &der(2, &[&[1]]),
        &seq(&[&oid(id::ECDSA_SHA256)]),
        &name(),
        &seq(&[validity]),
        subject,
        spki,
        &der(0xa3, &[&seq(&[extensions])]),
    ])
}

fn certificate(body: &[u8], authority: &Pair) -> Vec<u8> {
    let signature = der(3, &[&[0], &authority.sign(body)]);
    seq(&[body, &seq(&[&oid(id::ECDSA_SHA256)]), &signature])
}

fn name() -> Vec<u8> {
    seq(&[&der(0x31, &[&seq(&[&oid(id::COMMON_NAME), &der(0x0c, &[b"authority"])])])])
}

fn key_identifier(spki: &[u8]) -> Vec<u8> {
    Sha256::of(spki).as_bytes()[..20].to_vec()
}

fn utc(time: &str) -> Vec<u8> {
    der(0x17, &[time.as_bytes()])
}

/// TLS's `opaque<0..2^16-1>`.
fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|l| str::from_utf8(l).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
