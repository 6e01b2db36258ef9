//! Signing without a key of one's own: a certificate for an identity, for minutes, and a log entry that outlives it.
//!
//! ```text
//! Wish ──POST fulcio──▶ Certified ──sign──▶ Signed ──POST timestamp──▶ Signed ──POST rekor──▶ a bundle that verifies
//! ```
//!
//! Pure, like all of this library: the caller makes a key pair that it throws away afterwards, signs with it, and
//! carries the requests to the instance that its configuration names. Why not `sigstore-sign`? It brings an
//! asynchronous HTTP client, and holds the secret key and the network in one place.
//!
//! Spoken: Fulcio v2; for the rest see [`Signed`].

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::adapter::certificate_claims;
use super::log::{Signed, Verifier};
use super::{Error, Signer, limit, within};
use crate::attestation::{claimed_signer, signer_pointer};
use crate::statement::UNSIGNED;
use crate::{PublicKey, Release};

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

    /// The statement in the name of the certificate: one that is by nobody yet ([`UNSIGNED`]) gets the name.
    ///
    /// # Errors
    /// It is no statement of a known type, or speaks for another.
    pub fn in_own_name(&self, statement: &[u8]) -> Result<Vec<u8>, Error> {
        let (named, signed) = (claimed_signer(statement)?, self.signer.name());
        if named == signed {
            return Ok(statement.to_vec());
        }
        if named != UNSIGNED {
            return Err(Error::SpeaksForAnother { named, signed });
        }
        let mut value: Value = read("statement", statement, limit::BUNDLE)?;
        let kind = value.get("predicateType").and_then(Value::as_str).unwrap_or_default();
        let pointer = format!("/predicate{}", signer_pointer(kind)?);
        if let Some(name) = value.pointer_mut(&pointer) {
            *name = signed.into();
        }
        Ok(value.to_string().into_bytes())
    }

    /// Takes an in-toto statement, and the signature that the fresh key made over its [`pae`](crate::dsse::pae).
    /// Without a `release` to hold it against, the statement must make sense in itself.
    ///
    /// # Errors
    /// The fresh key did not sign it, or it is not about `release` or speaks for another.
    pub fn signed(
        self,
        payload: &[u8],
        signature: &[u8],
        release: Option<&Release>,
    ) -> Result<Signed, Error> {
        let (named, signed) = (claimed_signer(payload)?, self.signer.name());
        if named != signed {
            return Err(Error::SpeaksForAnother { named, signed });
        }
        let Self { der, pem, signer, key } = self;
        let by = Verifier::Certificate { der, pem, signer };
        Signed::new(by, &key, payload, signature, release)
    }
}

pub(super) fn read<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    limit: u64,
) -> Result<T, Error> {
    serde_json::from_slice(within(what, bytes, limit)?).map_err(|e| malformed(what, e))
}

pub(super) fn malformed(
    what: &'static str,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Malformed { what, cause: Box::new(cause) }
}
