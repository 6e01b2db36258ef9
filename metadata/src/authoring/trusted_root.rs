//! The trusted root of a Sigstore instance joins, changes or leaves: the next version of the top-level targets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::draft::{Part, next_version};
use super::published::Published;
use super::{AuthoringError, Draft, roles};
use crate::Sha256;
use crate::release::Blob;
use crate::request::{Bytes, RequestSubject};
use crate::trust::SignedFile;
use crate::trusted_root::TARGET;

impl Draft {
    /// The next version of the top-level targets, with these bytes as `trusted_root.json`, or without any. They travel
    /// with the request, so that its keyholders are shown what is in them.
    ///
    /// # Errors
    /// Nothing would change.
    pub fn trusted_root(
        published: &Published,
        file: Option<&[u8]>,
        expires: Timestamp,
    ) -> Result<Self, AuthoringError> {
        let unknown = || AuthoringError::NoCircle { role: "targets".to_owned() };
        let last = published.file("targets").ok_or_else(unknown)?;
        let now = file.map(|bytes| Blob { sha256: Sha256::of(bytes), length: bytes.len() as u64 });
        if listed(last) == now {
            return Err(AuthoringError::NoChange);
        }
        let mut entries =
            last.signed().get("targets").and_then(Value::as_object).cloned().unwrap_or_default();
        match now {
            Some(Blob { sha256, length }) => {
                let entry = json!({ "length": length, "hashes": { "sha256": sha256 } });
                entries.insert(TARGET.to_owned(), entry);
            }
            None => drop(entries.remove(TARGET)),
        }
        let next = roles::next(last, expires, [("targets", Value::Object(entries))]);
        let mut request = next_version(published, "targets", &next, None, None)?;
        if let RequestSubject::Role { trusted_root, .. } = &mut request.subject {
            *trusted_root = file.map(|bytes| Bytes(bytes.to_vec()));
        }
        Self::from_requests(vec![request], Some(published))
    }
}

impl Published {
    /// The trusted root that keyholders have signed, if there is one.
    pub fn trusted_root(&self) -> Option<Blob> {
        self.file("targets").and_then(listed)
    }
}

impl Part {
    /// The trusted root that this version lists: only the top-level targets do.
    pub fn trusted_root(&self) -> Option<Blob> {
        (self.role() == "targets").then(|| listed(self.file())).flatten()
    }
}

fn listed(targets: &SignedFile) -> Option<Blob> {
    let entry = targets.signed().get("targets")?.get(TARGET)?;
    let sha256 = entry.pointer("/hashes/sha256")?.as_str()?.parse().ok()?;
    Some(Blob { sha256, length: entry.get("length")?.as_u64()? })
}
