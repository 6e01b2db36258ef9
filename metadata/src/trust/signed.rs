//! A signed file taken apart, and the authority that counts its signatures.
//!
//! Needs nothing but bytes, so a keyholder's machine can check a chain offline:
//! `Authority::of_root(&root, "targets")?.count(&SignedFile::parse("targets", bytes)?)?`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::TrustError;
use super::target::Signer;
use crate::key::RsaKey;
use crate::rollout::ROLLOUT;
use crate::threshold::{self, Countable, NotEnough, Quorum};
use crate::{PublicKey, Version, canonical};

/// The field of `signed` that gives keys their names, for people only: `{keyid: label}`.
pub const LABELS: &str = "x-countersign-labels";
/// The field of `signed` with the keys as minisign writes them, which carry a number that TUF has no place
/// for: `{keyid: "RW…"}`. Believed only where the key in it is the key of that identifier.
pub const MINISIGN: &str = "x-countersign-minisign";

/// The field of a product's `signed` with the versions that nodes must leave: `["1.0.0"]`.
pub const REVOKED: &str = "x-countersign-revoked";

/// A TUF file as it was found: parsed, its signatures not yet counted.
#[derive(Clone, Debug)]
pub struct SignedFile {
    role: String,
    version: u64,
    expires: Timestamp,
    message: Vec<u8>,
    signatures: Vec<(String, Vec<u8>)>,
    signed: Value,
}

#[derive(Deserialize)]
struct Envelope {
    signed: Value,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    keyid: String,
    sig: String,
}

#[derive(Deserialize)]
struct Common {
    #[serde(rename = "_type")]
    kind: String,
    version: u64,
    expires: Timestamp,
}

impl SignedFile {
    /// Takes the file of `role` apart: `root`, `targets`, `snapshot`, `timestamp`, or a product.
    ///
    /// # Errors
    /// Not JSON of this shape, or another kind of role.
    pub fn parse(role: &str, bytes: &[u8]) -> Result<Self, TrustError> {
        let Envelope { signed, signatures } =
            serde_json::from_slice(bytes).map_err(|e| TrustError::malformed(role, e))?;
        let common = Common::deserialize(&signed).map_err(|e| TrustError::malformed(role, e))?;
        let kind = match role {
            "root" | "snapshot" | "timestamp" => role,
            _ => "targets",
        };
        if common.kind != kind {
            let what = format!("its type is {:?}, not {kind:?}", common.kind);
            return Err(TrustError::malformed(role, what));
        }
        let message = canonical::to_bytes(&signed).map_err(|e| TrustError::malformed(role, e))?;
        // A signature that is no hexadecimal is no signature; the others still count.
        let signatures = signatures
            .into_iter()
            .filter_map(|s| Some((s.keyid, hex::decode(s.sig).ok()?)))
            .collect();
        Ok(Self {
            role: role.to_owned(),
            version: common.version,
            expires: common.expires,
            message,
            signatures,
            signed,
        })
    }

    /// The role that it was parsed as.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// When it expires.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// The canonical bytes of its `signed` object: what signatures cover.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Its `signed` object.
    pub fn signed(&self) -> &Value {
        &self.signed
    }

    /// The versions that a product's role revokes; none where it says nothing.
    ///
    /// # Errors
    /// What it says is no list of versions: a revocation that cannot be read is not passed over.
    pub fn revoked(&self) -> Result<BTreeSet<Version>, TrustError> {
        let Some(list) = self.signed.get(REVOKED) else { return Ok(BTreeSet::new()) };
        BTreeSet::deserialize(list).map_err(|e| TrustError::malformed(&self.role, e))
    }

    /// What a product's role says about when nodes take its versions, unread; nothing where it says nothing.
    ///
    /// # Errors
    /// What it says is not by version at all.
    pub fn rollouts(&self) -> Result<BTreeMap<String, Value>, TrustError> {
        let Some(all) = self.signed.get(ROLLOUT) else { return Ok(BTreeMap::new()) };
        BTreeMap::deserialize(all).map_err(|e| TrustError::malformed(&self.role, e))
    }

    /// What people call the keys in it, by key.
    pub fn signers(&self) -> BTreeMap<PublicKey, Signer> {
        let delegations = self.signed.get("delegations").and_then(|d| d.get("keys"));
        [self.signed.get("keys"), delegations]
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .flatten()
            .filter_map(|(id, key)| {
                let text = |field: &str| self.signed.get(field)?.get(id)?.as_str();
                let mut key = PublicKey::from_tuf_json(key).ok()?;
                if let Some(written) = text(MINISIGN).and_then(|t| t.parse::<PublicKey>().ok())
                    && written == key
                {
                    key = written;
                }
                let label = text(LABELS).unwrap_or_default().chars().take(80).collect();
                Some((key, Signer::new(key, label)))
            })
            .collect()
    }
}

/// Which kinds of keys count. Keys of any other kind are nobody's: ignored, not fatal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKinds {
    /// Those that our keyholders have, Ed25519 and P-256: what a review shows is all that counts.
    #[default]
    Ours,
    /// Also RSA: in repositories that other programs make.
    AlsoRsa,
}

/// A key that counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    /// A key as our keyholders have.
    Ours(PublicKey),
    /// A key of other people's repositories ([`KeyKinds::AlsoRsa`]).
    Rsa(RsaKey),
}

impl Counted {
    fn read(key: &Value, kinds: KeyKinds) -> Option<Self> {
        let rsa = || (kinds == KeyKinds::AlsoRsa).then(|| RsaKey::from_tuf_json(key).ok())?;
        PublicKey::from_tuf_json(key).ok().map(Self::Ours).or_else(|| rsa().map(Self::Rsa))
    }

    /// The key, where it is one as our keyholders have.
    pub fn ours(&self) -> Option<&PublicKey> {
        match self {
            Self::Ours(key) => Some(key),
            Self::Rsa(_) => None,
        }
    }
}

impl Countable for Counted {
    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ours(key) => key.has_signed(message, signature),
            Self::Rsa(key) => key.verify(message, signature).is_ok(),
        }
    }
}

/// Who may sign a role: at least `threshold` distinct keys, the threshold at least 1.
#[derive(Clone, Debug)]
pub struct Authority {
    role: String,
    keys: BTreeMap<String, Counted>,
    threshold: usize,
}

#[derive(Deserialize)]
struct RoleKeys {
    keyids: Vec<String>,
    threshold: usize,
}

impl Authority {
    /// Who may sign the top-level `role` by this root.
    ///
    /// # Errors
    /// The role is unknown to the root, its threshold is 0, or its keys are too few.
    pub fn of_root(root: &SignedFile, role: &str) -> Result<Self, TrustError> {
        Self::of_root_with(root, role, KeyKinds::Ours)
    }

    /// [`Authority::of_root`] with other kinds of keys.
    pub(super) fn of_root_with(
        root: &SignedFile,
        role: &str,
        kinds: KeyKinds,
    ) -> Result<Self, TrustError> {
        let entry = root.signed.get("roles").and_then(|roles| roles.get(role));
        Self::read(role, entry, root.signed.get("keys"), kinds)
    }

    /// Who may sign the product's `role` by these targets.
    ///
    /// # Errors
    /// The role is unknown to the targets, its threshold is 0, or its keys are too few.
    pub fn of_delegation(targets: &SignedFile, role: &str) -> Result<Self, TrustError> {
        Self::of_delegation_with(targets, role, KeyKinds::Ours)
    }

    /// [`Authority::of_delegation`] with other kinds of keys.
    pub(super) fn of_delegation_with(
        targets: &SignedFile,
        role: &str,
        kinds: KeyKinds,
    ) -> Result<Self, TrustError> {
        let delegations = targets.signed.get("delegations");
        let entry = delegations
            .and_then(|d| d.get("roles"))
            .and_then(Value::as_array)
            .and_then(|roles| roles.iter().find(|r| r.get("name").is_some_and(|n| n == role)));
        Self::read(role, entry, delegations.and_then(|d| d.get("keys")), kinds)
    }

    fn read(
        role: &str,
        entry: Option<&Value>,
        keys: Option<&Value>,
        kinds: KeyKinds,
    ) -> Result<Self, TrustError> {
        let unknown = || TrustError::UnknownRole { role: role.to_owned() };
        let RoleKeys { keyids, threshold } = RoleKeys::deserialize(entry.ok_or_else(unknown)?)
            .map_err(|e| TrustError::malformed(role, e))?;
        if threshold == 0 {
            return Err(TrustError::ZeroThreshold { role: role.to_owned() });
        }
        // A key of an unknown type is nobody's here: ignored, not fatal.
        let keys: BTreeMap<_, _> = keyids
            .into_iter()
            .filter_map(|id| {
                let key = Counted::read(keys?.get(&id)?, kinds)?;
                Some((id, key))
            })
            .collect();
        let this = Self { role: role.to_owned(), keys, threshold };
        let distinct = this.counted().len();
        if distinct < threshold {
            return Err(TrustError::TooFewKeys { role: role.to_owned(), distinct, threshold });
        }
        Ok(this)
    }

    /// The distinct keys that may sign, as far as our keyholders could have them.
    pub fn keys(&self) -> BTreeSet<PublicKey> {
        self.keys.values().filter_map(Counted::ours).copied().collect()
    }

    fn counted(&self) -> BTreeSet<Counted> {
        self.keys.values().cloned().collect()
    }

    /// How many of them must.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// Counts the signatures of a file.
    ///
    /// # Errors
    /// Fewer distinct keys than the threshold have signed it.
    pub fn count(&self, file: &SignedFile) -> Result<Quorum<Counted>, TrustError> {
        let signatures = file
            .signatures
            .iter()
            .filter_map(|(id, signature)| Some((self.keys.get(id)?.clone(), signature.as_slice())));
        let counted = threshold::count(&file.message, &self.counted(), self.threshold, signatures);
        counted.map_err(|error| {
            let role = self.role.clone();
            match error {
                NotEnough::Zero => TrustError::ZeroThreshold { role },
                NotEnough::Below { found, needed } => {
                    TrustError::NotEnoughSignatures { role, version: file.version, found, needed }
                }
            }
        })
    }
}
