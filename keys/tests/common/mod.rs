//! A small repository and its keyholders: honest where every test begins, bent where a test bends it.
#![expect(dead_code, reason = "each test program uses its own part of the fixture")]

pub(crate) mod program;
pub(crate) mod stock;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_keys::keyfile::{self, NewKey};
use countersign_keys::{KeyFile, Protection, SecretKey};
use countersign_metadata::request::{Bytes, FORMAT, RequestSubject, SigningRequest};
use countersign_metadata::statement::{self, Outcome};
use countersign_metadata::{PublicKey, Release, Sha256, canonical, dsse};
use serde_json::{Value, json};

/// Somebody with a key.
pub(crate) struct Holder {
    pub(crate) name: &'static str,
    pub(crate) files: NewKey,
    pub(crate) secret: SecretKey,
    pair: Ed25519KeyPair,
}

impl Holder {
    pub(crate) fn new(name: &'static str) -> Self {
        let files = keyfile::generate(name, &Protection::WithoutPassword).unwrap();
        let raw = STANDARD.decode(files.secret.lines().nth(1).unwrap()).unwrap();
        let pair = Ed25519KeyPair::from_seed_unchecked(&raw[62..94]).unwrap();
        let secret = KeyFile::parse(&files.secret).unwrap_or_else(|e| panic!("{e}"));
        let secret = secret.open(None).unwrap_or_else(|e| panic!("{e}"));
        Self { name, files, secret, pair }
    }

    pub(crate) fn key(&self) -> &PublicKey {
        self.secret.public()
    }

    pub(crate) fn id(&self) -> String {
        self.key().id().to_string()
    }

    /// The secret's bytes, to look for where they must not be.
    pub(crate) fn seed(&self) -> Vec<u8> {
        STANDARD.decode(self.files.secret.lines().nth(1).unwrap()).unwrap()[62..94].to_vec()
    }

    pub(crate) fn raw(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// Alice, Bob and Carol hold the repository; the online key signs unattended.
pub(crate) struct Repo {
    pub(crate) alice: Holder,
    pub(crate) bob: Holder,
    pub(crate) carol: Holder,
    pub(crate) online: Holder,
    pub(crate) stranger: Holder,
}

impl Repo {
    pub(crate) fn new() -> Self {
        let [alice, bob, carol, online, stranger] =
            ["alice", "bob", "carol", "online", "stranger"].map(Holder::new);
        Self { alice, bob, carol, online, stranger }
    }

    pub(crate) fn three(&self) -> [&Holder; 3] {
        [&self.alice, &self.bob, &self.carol]
    }

    /// The root that everything begins with: 2 of 3.
    pub(crate) fn root1(&self) -> Value {
        root(1, &self.three(), 2, &self.online)
    }

    pub(crate) fn published_root1(&self) -> Vec<u8> {
        published(&self.root1(), &[&self.alice, &self.bob])
    }

    pub(crate) fn published_targets(&self) -> Vec<u8> {
        published(&targets(1, &self.three(), 2), &[&self.alice, &self.carol])
    }

    /// A request for a next version of the product's role, after `last`.
    pub(crate) fn release_request(&self, payload: &Value, last: Option<&Value>) -> SigningRequest {
        let last = last.map(|last| published(last, &[&self.alice, &self.bob]));
        let targets = Some(self.published_targets());
        request("demo", payload, &[self.published_root1()], last, targets)
    }
}

fn keys(holders: &[&Holder]) -> (Value, Value) {
    let map = |f: fn(&Holder) -> Value| holders.iter().map(|h| (h.id(), f(h))).collect();
    (Value::Object(map(|h| h.key().to_tuf())), Value::Object(map(|h| h.name.into())))
}

fn head(kind: &str, version: u64) -> Value {
    json!({ "_type": kind, "spec_version": "1.0.31", "version": version, "expires": "2099-01-01T00:00:00Z" })
}

fn with(mut head: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!() };
    head.as_object_mut().unwrap().extend(fields);
    head
}

pub(crate) fn root(version: u64, holders: &[&Holder], threshold: usize, online: &Holder) -> Value {
    let ids: Vec<_> = holders.iter().map(|h| h.id()).collect();
    let (keys, labels) = keys(&[holders, &[online]].concat());
    let held = json!({ "keyids": ids, "threshold": threshold });
    let unattended = json!({ "keyids": [online.id()], "threshold": 1 });
    with(
        head("root", version),
        json!({
            "consistent_snapshot": true, "keys": keys, "x-countersign-labels": labels,
            "roles": { "root": held, "targets": held, "snapshot": unattended, "timestamp": unattended },
        }),
    )
}

/// Targets that delegate `demo`.
pub(crate) fn targets(version: u64, holders: &[&Holder], threshold: usize) -> Value {
    let ids: Vec<_> = holders.iter().map(|h| h.id()).collect();
    let (keys, labels) = keys(holders);
    let role = json!({
        "name": "demo", "keyids": ids, "threshold": threshold, "paths": ["demo/*/*"], "terminating": true,
    });
    with(
        head("targets", version),
        json!({
            "targets": {}, "delegations": { "keys": keys, "roles": [role] }, "x-countersign-labels": labels,
        }),
    )
}

/// The role of `demo`, listing releases.
pub(crate) fn product(version: u64, releases: &[Release]) -> Value {
    let target = |r: &Release| {
        let hashes = json!({ "sha256": Sha256::of(b"served") });
        let target = json!({ "length": 9, "hashes": hashes, "custom": r.to_custom().unwrap() });
        (r.target_path(), target)
    };
    let targets: serde_json::Map<_, _> = releases.iter().map(target).collect();
    with(head("targets", version), json!({ "targets": targets }))
}

pub(crate) fn listing(kind: &str, version: u64, files: &[(&str, u64)]) -> Value {
    let meta: serde_json::Map<_, _> =
        files.iter().map(|(file, v)| ((*file).to_owned(), json!({ "version": v }))).collect();
    with(head(kind, version), json!({ "meta": meta }))
}

pub(crate) fn release(version: &str) -> Release {
    let digest = |what: &str| Sha256::of(format!("{what} {version}").as_bytes());
    serde_json::from_value(json!({
        "format": 1, "product": "demo", "version": version, "platform": "linux-x86_64",
        "artifact": { "sha256": digest("artifact"), "length": 1000 },
        "source": { "sha256": digest("source"), "length": 500 },
        "recipe": digest("recipe"), "lock": digest("lock"),
        "environment": { "kind": "host", "sha256": digest("environment") },
        "inputs": [{ "name": "crates:left-pad@1.0.0", "sha256": digest("input"), "length": 10 }],
        "node": {
            "command": ["bin/demo", "serve", "--state", "{state}"],
            "listen": { "http": "127.0.0.1:8080" },
            "connects-to": ["ntp.example:123"],
            "areas": { "values": { "schema": 2, "migrate": ["bin/demo", "migrate"] } },
        },
        "revokes": ["0.9.0"], "notes": "First release",
    }))
    .unwrap()
}

/// A TUF file, signed.
pub(crate) fn published(signed: &Value, by: &[&Holder]) -> Vec<u8> {
    let message = canonical::to_bytes(signed).unwrap();
    let signatures: Vec<_> = by
        .iter()
        .map(|h| json!({ "keyid": h.id(), "sig": hex::encode(h.raw(&message)) }))
        .collect();
    serde_json::to_vec(&json!({ "signed": signed, "signatures": signatures })).unwrap()
}

pub(crate) fn request(
    role: &str,
    payload: &Value,
    roots: &[Vec<u8>],
    last: Option<Vec<u8>>,
    delegator: Option<Vec<u8>>,
) -> SigningRequest {
    raw_request(role, canonical::to_bytes(payload).unwrap(), roots, last, delegator)
}

pub(crate) fn raw_request(
    role: &str,
    payload: Vec<u8>,
    roots: &[Vec<u8>],
    last: Option<Vec<u8>>,
    delegator: Option<Vec<u8>>,
) -> SigningRequest {
    SigningRequest {
        format: FORMAT,
        subject: RequestSubject::Role {
            role: role.to_owned(),
            payload: Bytes(payload),
            roots: roots.iter().cloned().map(Bytes).collect(),
            last: last.map(Bytes),
            delegator: delegator.map(Bytes),
            targets: None,
            published: None,
            trusted_root: None,
        },
    }
}

/// An unsigned verdict about `release` in the name of `holder`.
pub(crate) fn verdict(release: &Release, holder: &Holder, outcome: Outcome) -> Vec<u8> {
    let now = "2026-11-20T00:00:00Z".parse().unwrap();
    let environment = release.environment.clone();
    let statement = statement::verdict(release, holder.key(), now, environment, outcome);
    serde_json::to_vec(&statement).unwrap()
}

/// A statement put into an envelope by `signer`, whoever it speaks for.
pub(crate) fn envelope(statement: &[u8], signer: &Holder) -> Vec<u8> {
    let signature = signer.raw(&dsse::pae(dsse::IN_TOTO, statement));
    serde_json::to_vec(&dsse::Envelope::new(statement, &signer.key().id(), &signature)).unwrap()
}
