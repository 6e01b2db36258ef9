//! Deltas: what turns a release that a node holds into another one, in fewer bytes. Listed beside the signed release.
//!
//! A delta is bound by the same signature as the release, by digest and length. It decides nothing: what it makes must
//! be the release's canonical tar. A reader that knows no deltas, or cannot read these, takes the whole file.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::release::Blob;
use crate::{Release, Sha256};

/// The key below `custom` in TUF targets metadata, beside the release's.
pub const NAMESPACE: &str = "countersign-deltas";

/// The most that are listed for one release.
pub const MOST: usize = 16;

/// The base-two logarithm of the largest window that a delta may need to be decompressed: 8 MiB.
pub const WINDOW_LOG: u32 = 23;

/// One delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delta {
    /// The artifact that it begins with: the digest of its canonical tar.
    pub from: Sha256,
    /// The digest of the delta as served.
    pub sha256: Sha256,
    /// Its length in bytes.
    pub length: u64,
}

impl Delta {
    /// The bytes as served.
    pub fn blob(&self) -> Blob {
        Blob { sha256: self.sha256, length: self.length }
    }
}

/// Reads the deltas of a target; none where they are not of this shape.
pub fn from_custom(custom: Option<&Value>) -> Vec<Delta> {
    let written = custom.and_then(|custom| custom.get(NAMESPACE));
    let read = written.and_then(|deltas| Vec::<Delta>::deserialize(deltas).ok());
    let mut seen = BTreeSet::new();
    // One a base: of two, nobody could say which was meant.
    let mut good = |deltas: &Vec<Delta>| deltas.iter().all(|delta| seen.insert(delta.from));
    read.filter(|deltas| deltas.len() <= MOST && good(deltas)).unwrap_or_default()
}

/// The `custom` field of a release with deltas.
///
/// # Errors
/// Never for a release that was read by [`Release::from_custom`].
pub fn to_custom(release: &Release, deltas: &[Delta]) -> Result<Value, serde_json::Error> {
    let mut custom = release.to_custom()?;
    if !deltas.is_empty() {
        custom[NAMESPACE] = serde_json::to_value(deltas)?;
    }
    Ok(custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_list_of_deltas_is_none() {
        let (a, b) = (Sha256::of(b"a"), Sha256::of(b"b"));
        let good = json!({ "from": a, "sha256": b, "length": 7 });
        let read = |deltas: Value| from_custom(Some(&json!({ NAMESPACE: deltas }))).len();
        assert_eq!(read(json!([good])), 1);
        let many: Vec<_> = (0..=MOST as u64)
            .map(|n| json!({ "from": Sha256::of(&n.to_be_bytes()), "sha256": b, "length": 7 }))
            .collect();
        for bad in [
            json!({}),
            json!([good, good]),
            json!([{ "from": a, "sha256": b }]),
            json!([{ "from": a, "sha256": b, "length": -1 }]),
            json!([{ "from": a, "sha256": b, "length": 7, "command": "rm" }]),
            json!(many),
        ] {
            assert_eq!(read(bad.clone()), 0, "{bad}");
        }
        assert_eq!(from_custom(None).len(), 0);
    }
}
