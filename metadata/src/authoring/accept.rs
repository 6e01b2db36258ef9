//! Signatures on their way in: verified, authorised, with their evidence; and who is still missing.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::draft::Part;
use super::{AuthoringError, roles};
use crate::attestation::{self, VerifiedAttestation};
use crate::dsse::BadEnvelope;
use crate::request::{BadAnswer, Signature, VerifiedSignature};
use crate::threshold::{self, NotEnough};
use crate::trust::{Authority, Signer};
use crate::{PublicKey, waiver, word};

/// What a keyholder shows for a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The role adds no release: nothing to rebuild.
    NothingToRebuild,
    /// A verdict says that the published bytes came out of a rebuild.
    Rebuilt {
        /// Whose rebuild key signed the verdict.
        by: PublicKey,
        /// When, as it says.
        at: Timestamp,
        /// Whether it is the signer's own: by the same key, or vouched for by it.
        own: bool,
    },
    /// Signed without a rebuild, which the signer has signed too.
    Waived,
    /// Nothing is said about a rebuild.
    Silent,
}

impl Evidence {
    /// How much it says: a signature that came with more is not replaced by one with less.
    pub fn weight(&self) -> u8 {
        match self {
            Self::Silent => 0,
            Self::Waived => 1,
            Self::Rebuilt { own: false, .. } => 2,
            Self::NothingToRebuild | Self::Rebuilt { own: true, .. } => 3,
        }
    }
}

/// A signature that counts: over exactly these bytes, by a key that may sign them.
#[derive(Clone, Debug)]
pub struct Accepted {
    signature: VerifiedSignature,
    signer: Signer,
    evidence: Evidence,
}

impl Accepted {
    /// The signature.
    pub fn signature(&self) -> &Signature {
        self.signature.get()
    }

    /// Whose it is.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// What it is founded on.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

/// Why a signature is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not over these bytes, or it does not verify.
    #[error(transparent)]
    Answer(#[from] BadAnswer),
    /// Its key may not sign this role.
    #[error("{signer} may not sign {role}")]
    NotAuthorised {
        /// Whose key.
        signer: Signer,
        /// The role.
        role: String,
    },
    /// The `.minisig` in it is not that signature.
    #[error("its minisig file is not the same signature")]
    Minisig,
    /// The verdict in it cannot be believed.
    #[error("the rebuild verdict that came with it cannot be believed")]
    Verdict(#[source] BadEnvelope),
    /// What the signer says about a rebuild, in a statement of its own, cannot be believed.
    #[error("the signer's own word about the rebuild cannot be believed")]
    Word(#[source] BadEnvelope),
    /// The verdict says that other bytes came out, or none.
    #[error("the rebuild verdict that came with it does not say that the release was reproduced")]
    NotReproduced,
}

/// Who has signed a role, and who can still.
#[derive(Clone, Debug)]
pub struct RoleStatus {
    /// The threshold; the higher one where two authorities must sign.
    pub needed: usize,
    /// Distinct signatures still missing.
    pub missing: usize,
    /// Who can still sign.
    pub can_sign: Vec<Signer>,
    /// The same for each circle that must sign: two where a rotation replaces keyholders, the new one first.
    pub circles: Vec<Circle>,
}

/// Keyholders who must sign to a threshold of their own.
#[derive(Clone, Debug)]
pub struct Circle {
    /// The threshold.
    pub needed: usize,
    /// Distinct signatures still missing.
    pub missing: usize,
    /// Who of them can still sign.
    pub can_sign: Vec<Signer>,
}

/// A role with its threshold of signatures, ready to be published.
#[derive(Clone, Debug)]
pub struct SignedRole {
    pub(super) role: String,
    pub(super) version: u64,
    pub(super) bytes: Vec<u8>,
}

impl Part {
    /// Takes a signature in.
    ///
    /// # Errors
    /// It is over other bytes, by another key, or what came with it contradicts it.
    pub fn accept(&self, signature: Signature) -> Result<Accepted, Refused> {
        let signature = signature.verify(self.message())?;
        let Signature { key, minisig, rebuilt, .. } = signature.get();
        let signer = self.name(key);
        if !self.authorities().iter().any(|a| a.keys().contains(key)) {
            return Err(Refused::NotAuthorised { signer, role: self.role().to_owned() });
        }
        if let Some(minisig) = minisig
            && !is_minisig(minisig, signature.get())
        {
            return Err(Refused::Minisig);
        }
        let evidence = match rebuilt {
            _ if self.releases().is_empty() => Evidence::NothingToRebuild,
            None => self.waived(signature.get())?,
            Some(envelope) => {
                let envelope = serde_json::to_vec(envelope).unwrap_or_default();
                self.rebuilt(signature.get(), &envelope)?
            }
        };
        Ok(Accepted { signature, signer, evidence })
    }

    fn waived(&self, signature: &Signature) -> Result<Evidence, Refused> {
        let Some(word) = &signature.waiver else { return Ok(Evidence::Silent) };
        waiver::verify(word, &signature.key, *self.digest(), self.releases())
            .map_err(Refused::Word)?;
        Ok(Evidence::Waived)
    }

    /// Every release that this version adds must be covered; there is one verdict, so there must be one release.
    fn rebuilt(&self, signature: &Signature, envelope: &[u8]) -> Result<Evidence, Refused> {
        let mut evidence = Evidence::Silent;
        for release in self.releases() {
            match attestation::verify(envelope, release).map_err(Refused::Verdict)? {
                VerifiedAttestation::Verdict(v) if v.reproduced() => {
                    let Signature { key, vouched, .. } = signature;
                    let (by, digest) = (*v.rebuilder(), *self.digest());
                    let vouched = vouched
                        .as_ref()
                        .map(|word| word::verify_vouch(word, key, &by, digest, release))
                        .transpose()
                        .map_err(Refused::Word)?;
                    let own = by == *key || vouched.is_some();
                    evidence = Evidence::Rebuilt { by, at: v.at(), own };
                }
                _ => return Err(Refused::NotReproduced),
            }
        }
        Ok(evidence)
    }

    /// Who has signed, and who is missing.
    pub fn status(&self, accepted: &[Accepted]) -> RoleStatus {
        let signed = by_key(accepted);
        let circle = |authority: &Authority| {
            let keys = authority.keys();
            let have = keys.iter().filter(|key| signed.contains_key(key)).count();
            let open = keys.iter().filter(|key| !signed.contains_key(key));
            Circle {
                needed: authority.threshold(),
                missing: authority.threshold().saturating_sub(have),
                can_sign: open.map(|key| self.name(key)).collect(),
            }
        };
        let mut circles: Vec<Circle> = self.authorities().iter().map(circle).collect();
        let same =
            |a: &Authority, b: &Authority| a.keys() == b.keys() && a.threshold() == b.threshold();
        if let [one, two] = self.authorities()
            && same(one, two)
        {
            circles.truncate(1);
        }
        let mut can_sign: Vec<Signer> = Vec::new();
        for signer in circles.iter().flat_map(|c| &c.can_sign) {
            if !can_sign.iter().any(|known| known.key() == signer.key()) {
                can_sign.push(signer.clone());
            }
        }
        RoleStatus {
            needed: circles.iter().map(|c| c.needed).max().unwrap_or(0),
            missing: circles.iter().map(|c| c.missing).max().unwrap_or(0),
            can_sign,
            circles,
        }
    }

    /// Puts the signatures below the role, once every authority's threshold is met.
    ///
    /// # Errors
    /// Signatures are missing.
    pub fn complete(&self, accepted: &[Accepted]) -> Result<SignedRole, AuthoringError> {
        let signatures = by_key(accepted);
        for authority in self.authorities() {
            let (keys, needed) = (authority.keys(), authority.threshold());
            let pairs = signatures.iter().map(|(key, signature)| (**key, *signature));
            threshold::count(self.message(), &keys, needed, pairs).map_err(|error| {
                let found = match error {
                    NotEnough::Zero => 0,
                    NotEnough::Below { found, .. } => found,
                };
                let (role, missing) = (self.role().to_owned(), needed.saturating_sub(found));
                AuthoringError::Incomplete { role, missing, needed }
            })?;
        }
        let bytes = roles::file(self.message(), signatures);
        Ok(SignedRole { role: self.role().to_owned(), version: self.version(), bytes })
    }
}

fn by_key(accepted: &[Accepted]) -> BTreeMap<&PublicKey, &[u8]> {
    accepted.iter().map(|a| (&a.signature().key, a.signature().signature.as_slice())).collect()
}

/// Whether a `.minisig` text is this signature: algorithm `Ed` (not prehashed), the key's number, and a trusted
/// comment that the same key has signed.
fn is_minisig(text: &str, signature: &Signature) -> bool {
    let mut lines = text.lines();
    let (Some(_), Some(first), Some(comment), Some(global), None) =
        (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return false;
    };
    let Some(comment) = comment.strip_prefix("trusted comment: ") else { return false };
    let (Ok(raw), Ok(global)) = (STANDARD.decode(first), STANDARD.decode(global)) else {
        return false;
    };
    let Signature { key, signature, .. } = signature;
    let expected = [b"Ed".as_slice(), &key.number(), signature].concat();
    let commented = [signature.as_slice(), comment.as_bytes()].concat();
    raw == expected && key.verify(&commented, &global).is_ok()
}
