//! TUF roles as we write them: canonical, compact, seconds-only dates, every key once, consistent snapshots.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::AuthoringError;
use crate::trust::{Bins, INDEX, LABELS, MINISIGN, SignedFile, index_of};
use crate::{Product, PublicKey, Sha256, canonical};

/// The version of the TUF specification that we write.
const SPEC_VERSION: &str = "1.0.31";

/// A key and the name that its holder goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The name, for people.
    pub label: String,
    /// The key.
    pub key: PublicKey,
}

/// A new repository.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its products, each with a role of its own.
    pub products: Vec<Product>,
    /// Who signs root, targets, and every release.
    pub keyholders: Vec<Holder>,
    /// How many of them must.
    pub threshold: usize,
    /// The key that signs snapshot and timestamp, unattended.
    pub online: Holder,
    /// When root, targets and product roles expire.
    pub expires: Timestamp,
}

impl Plan {
    pub(super) fn check(&self) -> Result<(), AuthoringError> {
        let no = |text: String| Err(AuthoringError::Plan(text));
        if self.products.is_empty() {
            return no("a repository needs at least one product".to_owned());
        }
        if self.threshold == 0 || self.threshold > self.keyholders.len() {
            let holders = match self.keyholders.len() {
                1 => "1 keyholder".to_owned(),
                many => format!("{many} keyholders"),
            };
            return no(format!("a threshold of {} makes no sense for {holders}", self.threshold));
        }
        let (mut keys, mut labels) = (BTreeSet::new(), BTreeSet::new());
        for Holder { label, key } in self.keyholders.iter().chain([&self.online]) {
            if !keys.insert(key) {
                return no(format!("the key of {label:?} is given twice: one key, one purpose"));
            }
            if label.is_empty() || label.len() > 80 || !labels.insert(label) {
                return no(format!("{label:?} names no key or two (1 to 80 bytes, each once)"));
            }
        }
        Ok(())
    }
}

/// A moment as TUF writes it, to the second below: `2027-01-31T12:00:00Z`.
pub fn seconds(moment: Timestamp) -> String {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment).to_string()
}

fn signed(kind: &str, version: u64, expires: Timestamp) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("_type".to_owned(), kind.into());
    map.insert("spec_version".to_owned(), SPEC_VERSION.into());
    map.insert("version".to_owned(), version.into());
    map.insert("expires".to_owned(), seconds(expires).into());
    map
}

fn keys<'a>(holders: impl Iterator<Item = &'a Holder> + Clone) -> [Value; 3] {
    let map = |value: fn(&Holder) -> Value| {
        let entries = holders.clone().map(|h| (h.key.id().to_string(), value(h)));
        Value::Object(entries.collect())
    };
    [map(|h| h.key.to_tuf()), map(|h| h.label.as_str().into()), map(|h| h.key.to_string().into())]
}

fn ids(holders: &[Holder]) -> Vec<String> {
    holders.iter().map(|h| h.key.id().to_string()).collect()
}

pub(super) fn root(plan: &Plan, version: u64) -> Value {
    let Plan { keyholders, threshold, online, .. } = plan;
    let mut root = signed("root", version, plan.expires);
    let [tuf, labels, minisign] = keys(keyholders.iter().chain([online]));
    let held = json!({ "keyids": ids(keyholders), "threshold": threshold });
    let unattended = json!({ "keyids": [online.key.id().to_string()], "threshold": 1 });
    root.insert("consistent_snapshot".to_owned(), true.into());
    root.insert("keys".to_owned(), tuf);
    root.insert(
        "roles".to_owned(),
        json!({ "root": held, "targets": held, "snapshot": unattended, "timestamp": unattended }),
    );
    root.insert(LABELS.to_owned(), labels);
    root.insert(MINISIGN.to_owned(), minisign);
    Value::Object(root)
}

/// A product's role that delegates to its index and to bins.
pub(super) fn with_bins(plan: &Plan, product: &Product, bins: Bins) -> Value {
    let Plan { keyholders, threshold, expires, .. } = plan;
    let [tuf, ..] = keys(keyholders.iter());
    let keyids = ids(keyholders);
    let mut roles = vec![json!({
        "name": index_of(product), "keyids": keyids, "threshold": threshold,
        "paths": [], "terminating": true,
    })];
    roles.extend((0..bins.count()).map(|number| {
        json!({
            "name": bins.name(product, number), "keyids": keyids, "threshold": threshold,
            "path_hash_prefixes": bins.prefixes(number), "terminating": true,
        })
    }));
    let mut product = signed("targets", 1, *expires);
    product.insert("targets".to_owned(), json!({}));
    product.insert("delegations".to_owned(), json!({ "keys": tuf, "roles": roles }));
    Value::Object(product)
}

/// The first version of an index.
pub(super) fn index(expires: Timestamp) -> Value {
    let mut index = signed("targets", 1, expires);
    index.insert("targets".to_owned(), json!({}));
    index.insert(INDEX.to_owned(), json!({}));
    Value::Object(index)
}

pub(super) fn targets(plan: &Plan, version: u64) -> Value {
    let Plan { products, keyholders, threshold, .. } = plan;
    let mut targets = signed("targets", version, plan.expires);
    let [tuf, labels, minisign] = keys(keyholders.iter());
    let roles: Vec<_> = products
        .iter()
        .map(|product| {
            json!({
                "name": product.as_str(),
                "keyids": ids(keyholders),
                "threshold": threshold,
                "paths": [format!("{product}/*/*")],
                "terminating": true,
            })
        })
        .collect();
    targets.insert("targets".to_owned(), json!({}));
    targets.insert("delegations".to_owned(), json!({ "keys": tuf, "roles": roles }));
    targets.insert(LABELS.to_owned(), labels);
    targets.insert(MINISIGN.to_owned(), minisign);
    Value::Object(targets)
}

pub(super) fn product(version: u64, expires: Timestamp, entries: Map<String, Value>) -> Value {
    let mut product = signed("targets", version, expires);
    product.insert("targets".to_owned(), Value::Object(entries));
    Value::Object(product)
}

/// The next version of a published role: everything in it stays but what is given.
pub(super) fn next<'a>(
    last: &SignedFile,
    expires: Timestamp,
    changed: impl IntoIterator<Item = (&'a str, Value)>,
) -> Value {
    let mut next = last.signed().as_object().cloned().unwrap_or_default();
    let kind = next.get("_type").and_then(Value::as_str).unwrap_or("targets").to_owned();
    next.extend(signed(&kind, last.version() + 1, expires));
    next.extend(changed.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(next)
}

/// `files`: role name to its version and bytes.
pub(super) fn snapshot_meta(files: &BTreeMap<String, (u64, Vec<u8>)>) -> Map<String, Value> {
    let entry = |(role, (version, bytes)): (&String, &(u64, Vec<u8>))| {
        (format!("{role}.json"), meta(*version, bytes))
    };
    files.iter().map(entry).collect()
}

pub(super) fn snapshot(version: u64, expires: Timestamp, meta: Value) -> Value {
    let mut snapshot = signed("snapshot", version, expires);
    snapshot.insert("meta".to_owned(), meta);
    Value::Object(snapshot)
}

pub(super) fn timestamp(
    version: u64,
    expires: Timestamp,
    (snapshot, bytes): (u64, &[u8]),
) -> Value {
    let mut timestamp = signed("timestamp", version, expires);
    timestamp.insert("meta".to_owned(), json!({ "snapshot.json": meta(snapshot, bytes) }));
    Value::Object(timestamp)
}

fn meta(version: u64, bytes: &[u8]) -> Value {
    let digest = Sha256::of(bytes);
    json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": digest } })
}

/// The exact bytes to be signed.
pub(super) fn payload(role: &str, signed: &Value) -> Result<Vec<u8>, AuthoringError> {
    let unwritable = |reason: &str| AuthoringError::Unwritable {
        role: role.to_owned(),
        reason: reason.to_owned(),
    };
    let bytes = canonical::to_bytes(signed).map_err(|e| unwritable(&e.to_string()))?;
    // Canonical JSON leaves control characters bare in texts, where they could mislead whoever is shown what is
    // signed. Only the PEM of a key needs its line ends.
    if speaks_oddly(signed) {
        return Err(unwritable("a text in it holds a line break or other control character"));
    }
    Ok(bytes)
}

fn speaks_oddly(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().any(|c| c.is_ascii_control()),
        Value::Array(list) => list.iter().any(speaks_oddly),
        Value::Object(map) => map.iter().any(|(name, value)| {
            let key =
                name == "public" && PublicKey::from_pem(value.as_str().unwrap_or_default()).is_ok();
            name.chars().any(|c| c.is_ascii_control()) || (!key && speaks_oddly(value))
        }),
        _ => false,
    }
}

/// A role as a file: its payload and its signatures, sorted by key identifier.
pub(super) fn file<'a>(
    payload: &[u8],
    signatures: impl IntoIterator<Item = (&'a PublicKey, &'a [u8])>,
) -> Vec<u8> {
    let signatures: BTreeMap<_, _> =
        signatures.into_iter().map(|(key, sig)| (key.id().to_string(), hex::encode(sig))).collect();
    let list: Vec<_> =
        signatures.into_iter().map(|(keyid, sig)| json!({ "keyid": keyid, "sig": sig })).collect();
    let mut out = format!("{{\"signatures\":{},\"signed\":", Value::Array(list)).into_bytes();
    out.extend_from_slice(&canonical::to_json(payload));
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_seconds_and_nothing_below() {
        let moment = Timestamp::new(1_795_000_000, 987_654_321).unwrap();
        assert_eq!(seconds(moment), "2026-11-18T11:06:40Z");
    }

    #[test]
    fn a_text_with_a_line_break_is_refused_by_name() {
        let error = payload("demo", &json!({ "notes": "one\ntwo" })).unwrap_err();
        assert!(error.to_string().contains("line break"), "{error}");
    }

    fn plan(threshold: usize, keys: &[u8]) -> Plan {
        let holder = |n: &u8| Holder {
            label: format!("holder {n}"),
            key: PublicKey::from_parts([*n; 8], [*n; 32]),
        };
        Plan {
            products: vec!["demo".parse().unwrap()],
            keyholders: keys.iter().map(holder).collect(),
            threshold,
            online: Holder { label: "online".to_owned(), ..holder(&99) },
            expires: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_plan_that_cannot_hold_is_refused() {
        assert!(plan(2, &[1, 2, 3]).check().is_ok());
        for (threshold, keys) in [(0, &[1, 2][..]), (3, &[1, 2]), (2, &[1, 1, 2]), (1, &[99])] {
            assert!(plan(threshold, keys).check().is_err(), "{threshold} of {keys:?}");
        }
    }
}
