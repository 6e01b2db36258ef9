//! An honest repository in memory, written by hand and not by our authoring code. Every attack begins from it.

use std::collections::BTreeMap;

use countersign_metadata::release::{Blob, Environment, EnvironmentKind, Urgency};
use countersign_metadata::trust::{Source, SourceError, Trust};
use countersign_metadata::{Product, Release, Sha256, canonical, layout};
use jiff::Timestamp;

use serde_json::{Value, json};

use crate::key::TestKey;

/// The test's moment; everything honest expires a year later.
pub(crate) const NOW: &str = "2026-11-20T00:00:00Z";
pub(crate) const LATER: &str = "2027-11-20T00:00:00Z";
pub(crate) const PAST: &str = "2026-11-19T00:00:00Z";

pub(crate) fn now() -> Timestamp {
    NOW.parse().unwrap()
}

pub(crate) fn product(name: &str) -> Product {
    name.parse().unwrap()
}

pub(crate) fn release(name: &str, version: &str, artifact: &[u8]) -> Release {
    let blob = |bytes: &[u8]| Blob { sha256: Sha256::of(bytes), length: bytes.len() as u64 };
    Release {
        format: 1,
        product: name.parse().unwrap(),
        version: version.parse().unwrap(),
        platform: "linux-x86_64".parse().unwrap(),
        artifact: blob(artifact),
        source: blob(b"source"),
        recipe: Sha256::of(b"recipe"),
        lock: Sha256::of(b"lock"),
        environment: Environment {
            kind: EnvironmentKind::Host,
            sha256: Sha256::of(b"environment"),
        },
        inputs: Vec::new(),
        node: None,
        follows: None,
        protocol: None,
        urgency: Urgency::Normal,
        revokes: Default::default(),
        actions: Default::default(),
        notes: String::new(),
    }
}

/// The entry of a release in its role. The file as served is the artifact itself here.
pub(crate) fn entry(release: &Release) -> Value {
    let Blob { sha256, length } = release.artifact;
    let custom = release.to_custom().unwrap();
    json!({ "length": length, "hashes": { "sha256": sha256 }, "custom": custom })
}

/// Alice, Bob and Carol hold root, targets and products, two of three; `online` signs the rest.
pub(crate) fn holders() -> [TestKey; 3] {
    [1, 2, 3].map(TestKey::new)
}

/// A role under construction: its `signed` object, and who will sign it.
pub(crate) struct Role {
    pub(crate) signed: Value,
    pub(crate) signers: Vec<(String, TestKey)>,
}

impl Role {
    fn new(signed: Value, keys: impl IntoIterator<Item = TestKey>) -> Self {
        let signers = keys.into_iter().map(|k| (k.public.id().to_string(), k)).collect();
        Self { signed, signers }
    }

    pub(crate) fn version(&self) -> u64 {
        self.signed["version"].as_u64().unwrap()
    }

    pub(crate) fn set_version(&mut self, version: u64) {
        self.signed["version"] = version.into();
    }

    pub(crate) fn sign_with(&mut self, keys: impl IntoIterator<Item = TestKey>) {
        self.signers = keys.into_iter().map(|k| (k.public.id().to_string(), k)).collect();
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let message = canonical::to_bytes(&self.signed).unwrap();
        let signatures: Vec<_> = self
            .signers
            .iter()
            .map(|(id, key)| json!({ "keyid": id, "sig": hex::encode(key.sign(&message)) }))
            .collect();
        serde_json::to_vec(&json!({ "signatures": signatures, "signed": self.signed })).unwrap()
    }
}

/// The repository.
pub(crate) struct Simulator {
    pub(crate) root: Role,
    pub(crate) targets: Role,
    pub(crate) products: BTreeMap<String, Role>,
    pub(crate) snapshot: Role,
    pub(crate) timestamp: Role,
    /// What is served, by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What was asked for.
    pub(crate) log: Vec<String>,
}

impl Source for Simulator {
    fn fetch(&mut self, path: &str, _max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.log.push(path.to_owned());
        Ok(self.files.get(path).cloned())
    }
}

pub(crate) fn keys_of<'a>(keys: impl IntoIterator<Item = &'a TestKey>) -> Value {
    let entry = |k: &TestKey| (k.public.id().to_string(), k.public.to_tuf());
    Value::Object(keys.into_iter().map(entry).collect())
}

pub(crate) fn ids<'a>(keys: impl IntoIterator<Item = &'a TestKey>) -> Value {
    keys.into_iter().map(|k| Value::from(k.public.id().to_string())).collect()
}

impl Simulator {
    /// Products `demo` (release 1.0.0) and `other` (release 2.0.0), all of it published.
    pub(crate) fn new() -> Self {
        let online = || TestKey::new(9);
        let common = |kind: &str| json!({ "_type": kind, "spec_version": "1.0.31", "version": 1, "expires": LATER });
        let with = |kind: &str, more: Value| {
            let mut signed = common(kind);
            signed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            signed
        };
        let held = json!({ "keyids": ids(&holders()), "threshold": 2 });
        let unattended = json!({ "keyids": ids([&online()]), "threshold": 1 });
        let [alice, ..] = holders();
        let root = with(
            "root",
            json!({
                "consistent_snapshot": true,
                "keys": keys_of(holders().iter().chain([&online()])),
                "roles": {
                    "root": held, "targets": held, "snapshot": unattended, "timestamp": unattended,
                },
                "x-countersign-labels": { alice.public.id().to_string(): "alice" },
                "x-countersign-minisign": { alice.public.id().to_string(): alice.public.to_string() },
            }),
        );
        let delegation = |name: &str| {
            json!({
                "name": name, "keyids": ids(&holders()), "threshold": 2,
                "paths": [format!("{name}/*/*")], "terminating": true,
            })
        };
        let delegations = json!({ "keys": keys_of(&holders()), "roles": [delegation("demo"), delegation("other")] });
        let targets = with("targets", json!({ "targets": {}, "delegations": delegations }));
        let product = |name: &str, version: &str| {
            let release = release(name, version, b"an artifact");
            let targets = json!({ "targets": { release.target_path(): entry(&release) } });
            Role::new(with("targets", targets), two())
        };
        let products = BTreeMap::from([
            ("demo".to_owned(), product("demo", "1.0.0")),
            ("other".to_owned(), product("other", "2.0.0")),
        ]);
        let mut this = Self {
            root: Role::new(root, two()),
            targets: Role::new(targets, two()),
            products,
            snapshot: Role::new(with("snapshot", json!({ "meta": {} })), [online()]),
            timestamp: Role::new(with("timestamp", json!({ "meta": {} })), [online()]),
            files: BTreeMap::new(),
            log: Vec::new(),
        };
        this.publish_root();
        this.publish();
        this
    }

    pub(crate) fn demo(&mut self) -> &mut Role {
        self.products.get_mut("demo").unwrap()
    }

    pub(crate) fn put(&mut self, role: &str, version: u64, bytes: Vec<u8>) {
        self.files.insert(layout::metadata(role, version), bytes);
    }

    /// Serves the root as it is now; returns its bytes.
    pub(crate) fn publish_root(&mut self) -> Vec<u8> {
        let bytes = self.root.bytes();
        self.put("root", self.root.version(), bytes.clone());
        bytes
    }

    /// Serves everything below the root as it is now, with a snapshot and timestamp that fit.
    pub(crate) fn publish(&mut self) {
        let mut meta = json!({});
        let roles =
            self.products.iter().map(|(n, r)| (n.as_str(), r)).chain([("targets", &self.targets)]);
        let files: Vec<_> = roles.map(|(n, r)| (n.to_owned(), r.version(), r.bytes())).collect();
        for (name, version, bytes) in files {
            meta[format!("{name}.json")] = pin(version, &bytes);
            self.put(&name, version, bytes);
        }
        self.snapshot.signed["meta"] = meta;
        self.publish_snapshot();
    }

    /// Serves snapshot and timestamp as they are now, the one pinned by the other.
    pub(crate) fn publish_snapshot(&mut self) {
        let bytes = self.snapshot.bytes();
        self.timestamp.signed["meta"] =
            json!({ "snapshot.json": pin(self.snapshot.version(), &bytes) });
        self.put("snapshot", self.snapshot.version(), bytes);
        self.files.insert(layout::TIMESTAMP.to_owned(), self.timestamp.bytes());
    }

    /// The next versions of snapshot and timestamp.
    pub(crate) fn bump(&mut self) {
        for role in [&mut self.snapshot, &mut self.timestamp] {
            role.set_version(role.version() + 1);
        }
        self.publish();
    }

    /// A client that has followed everything so far.
    pub(crate) fn client(&mut self) -> Trust {
        let root = self.files[&layout::metadata("root", 1)].clone();
        let mut trust = Trust::from_root(&root).unwrap();
        trust.refresh(now(), self).unwrap();
        for name in ["demo", "other"] {
            trust.releases(&product(name), now(), self).unwrap();
        }
        trust
    }
}

fn two() -> [TestKey; 2] {
    [1, 2].map(TestKey::new)
}

pub(crate) fn pin(version: u64, bytes: &[u8]) -> Value {
    json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": Sha256::of(bytes) } })
}
