//! Whose keyless signatures count: exact identities, each with its exact issuer and a human label.

use serde::{Deserialize, Serialize};

use super::{Error, limit, within};

/// Whose keyless signatures count.
///
/// ```json
/// { "signers": [ { "label": "Alice's rebuilder",
///                  "identity": "https://ci.example/alice/rebuild.yml@refs/heads/main",
///                  "issuer": "https://token.ci.example" } ] }
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    signers: Vec<Signer>,
}

/// One signer. Both names are compared byte for byte: there are no patterns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// What people call it.
    pub label: String,
    /// The certificate's subject alternative name: a workflow's URI, or an e-mail address.
    pub identity: String,
    /// Who vouched for the identity: the OIDC issuer.
    pub issuer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    signers: Vec<Signer>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// Longer than [`limit::POLICY`], of another shape, or not a policy, as [`Policy::new`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let bytes = within("policy", bytes, limit::POLICY)?;
        let written: Written = serde_json::from_slice(bytes)
            .map_err(|cause| Error::Malformed { what: "policy", cause: cause.into() })?;
        Self::new(written.signers)
    }

    /// A policy that lists these signers.
    ///
    /// # Errors
    /// Nobody is listed, somebody lacks a name, an issuer has a fragment, or somebody is listed twice.
    pub fn new(signers: Vec<Signer>) -> Result<Self, Error> {
        if signers.is_empty() {
            return Err(Error::BadPolicy("it lists nobody"));
        }
        for (index, signer) in signers.iter().enumerate() {
            if [&signer.label, &signer.identity, &signer.issuer].iter().any(|s| s.is_empty()) {
                return Err(Error::BadPolicy("a label, an identity or an issuer is empty"));
            }
            // OpenID Connect Discovery 1.0, section 2: an issuer has no query or fragment. `Signer::name` relies on it.
            if signer.issuer.contains(['#', '?']) {
                return Err(Error::BadPolicy("an issuer has a query or a fragment"));
            }
            let again = |other: &Signer| {
                (&other.identity, &other.issuer) == (&signer.identity, &signer.issuer)
            };
            if signers[..index].iter().any(again) {
                return Err(Error::BadPolicy("a signer is listed twice"));
            }
        }
        Ok(Self { signers })
    }

    /// Everybody listed.
    pub fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// The one signer with exactly these names.
    pub(super) fn find(&self, identity: &str, issuer: &str) -> Option<&Signer> {
        self.signers.iter().find(|s| s.identity == identity && s.issuer == issuer)
    }
}

impl Signer {
    /// How a statement names this signer as its builder or verifier: `sigstore:ISSUER#IDENTITY`.
    pub fn name(&self) -> String {
        format!("sigstore:{}#{}", self.issuer, self.identity)
    }
}
