//! The root that a keyholder has pinned: what every request is judged from.

use std::path::{Path, PathBuf};

use countersign_metadata::layout::limit;
use countersign_metadata::request::{RequestSubject, SigningRequest};
use countersign_metadata::{PublicKey, canonical};
use serde_json::{Value, json};

use crate::Refused;
use crate::review::file::TufFile;
use crate::review::roles::{Role, Root};
use crate::store::{self, Overwrite, StoreError};

/// A root that a keyholder chose to judge from. It was compared by people, or signed by this key.
pub struct PinnedRoot {
    bytes: Vec<u8>,
}

impl PinnedRoot {
    /// A published root, signed to its own threshold by distinct keys.
    ///
    /// # Errors
    /// It is malformed or not signed enough.
    pub fn published(bytes: Vec<u8>) -> Result<Self, Refused> {
        let this = Self { bytes };
        let (file, _root) = this.parts()?;
        file.verify(&file.names("root")?)?;
        Ok(this)
    }

    /// The root beside a key, as [`PinnedRoot::save`] left it. It need not be signed to its threshold: a keyholder
    /// who has signed a first root stands by it before the others have signed too. `None`: there is none.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub fn beside(key: &Path) -> Result<Option<Self>, StoreError> {
        match store::read(&Self::path(key), limit::ROOT) {
            Ok(bytes) => Ok(Some(Self { bytes })),
            Err(StoreError::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first root that a request carries, believed because it is the first that was seen: only for a key that
    /// signs unattended, and only once. It must be signed to its own threshold.
    ///
    /// # Errors
    /// The request carries no root, or one that is not signed enough.
    pub fn trust_first(request: &SigningRequest) -> Result<Self, Refused> {
        let (what, roots) = match &request.subject {
            RequestSubject::Role { role, roots, .. } => (role.as_str(), roots.as_slice()),
            RequestSubject::Renewal(renewal) => (renewal.product.as_str(), &renewal.roots[..]),
            RequestSubject::Statement { .. } => ("statement", &[][..]),
        };
        let first = roots.first().ok_or_else(|| Refused::NoPinnedRoot(what.to_owned()))?;
        Self::published(first.0.clone())
    }

    /// A first root that `key` has just signed: `payload` are the signed bytes.
    pub(crate) fn own(
        key: &PublicKey,
        payload: &[u8],
        signature: &[u8],
    ) -> Result<Self, serde_json::Error> {
        let signed: Value = serde_json::from_slice(&canonical::to_json(payload))?;
        let signature = json!({ "keyid": key.id().to_string(), "sig": hex::encode(signature) });
        let root = json!({ "signed": signed, "signatures": [signature] });
        Ok(Self { bytes: serde_json::to_vec_pretty(&root)? })
    }

    /// Stores it beside a key.
    ///
    /// # Errors
    /// There is one already and `over` does not say to replace it, or it cannot be written.
    pub fn save(&self, key: &Path, over: Overwrite) -> Result<PathBuf, StoreError> {
        let path = Self::path(key);
        store::write(&path, &self.bytes, 0o644, over)?;
        Ok(path)
    }

    /// Where the pinned root of a key lies: `NAME.key`, `NAME.pem` and `NAME.pub` have `NAME.root.json`.
    pub fn path(key: &Path) -> PathBuf {
        match key.extension().and_then(|e| e.to_str()) {
            Some("key" | "pub" | "pem") => key.with_extension("root.json"),
            _ => {
                let mut name = key.as_os_str().to_owned();
                name.push(".root.json");
                PathBuf::from(name)
            }
        }
    }

    /// Whether both pin the same root, whoever has signed it by now.
    pub fn same(&self, other: &Self) -> bool {
        match (self.parts(), other.parts()) {
            (Ok((one, _)), Ok((two, _))) => one.message() == two.message(),
            _ => false,
        }
    }

    pub(crate) fn parts(&self) -> Result<(TufFile, Root), Refused> {
        let file = TufFile::published("the root", "root", &self.bytes)?;
        let root = Root::of(&file)?;
        Ok((file, root))
    }
}
