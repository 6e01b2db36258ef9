//! A repository with releases that nobody had to build, an instance on loopback, and a node with a policy.

use std::io::Write;
use std::path::{Path, PathBuf};

use countersign_metadata::release::Blob;
use countersign_metadata::statement::{
    Outcome, PROVENANCE, STATEMENT, UNSIGNED, subject, unsigned_verdict,
};
use countersign_metadata::{Platform, Release, Sha256};
use countersign_tests::programs::{Said, must, run};
use countersign_tests::world::{PRODUCT, World, text};
use serde_json::{Value, json};

use crate::served::{Served, alice, token};

/// Everything in the world's directory.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) served: Served,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self { world: World::new(), served: Served::new() };
        std::fs::write(scene.token(), token("repo:alice")).unwrap();
        must(
            "openssl",
            [
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                &text(&scene.managed()),
            ],
        );
        must("chmod", ["600", &text(&scene.managed())]);
        scene
    }

    pub(crate) fn token(&self) -> PathBuf {
        self.world.at("token.jwt")
    }

    fn managed(&self) -> PathBuf {
        self.world.at("managed.pem")
    }

    /// The configuration of the instance.
    pub(crate) fn instance(&self, rekor_version: u32) -> PathBuf {
        let root = self.served.instance.trusted_root();
        self.served.configure(&self.world.at(""), rekor_version, &root)
    }

    /// A release that alice and bob sign without a rebuild.
    pub(crate) fn release(&self, version: &str) -> Release {
        let built = self.world.at(&format!("built/{version}"));
        let release = write_release(&built, version);
        let draft = self.world.draft(version);
        self.sign_draft(&draft, PRODUCT, &["--without-rebuild"]);
        self.world.publish(&draft);
        release
    }

    /// Alice and bob sign a role of a draft; returns what alice was shown.
    fn sign_draft(&self, draft: &str, role: &str, more: &[&str]) -> String {
        let request = text(&self.world.at(&format!("repo/drafts/{draft}/{role}.request.json")));
        let review =
            must("countersign-keys", ["review", "--key", &self.world.key("alice"), &request]);
        for who in ["alice", "bob"] {
            let signature = text(&self.world.at(&format!("{who}-{draft}-{role}.json")));
            let key = self.world.key(who);
            let args = ["sign", "--yes", "--key", &key, "-o", &signature];
            must("countersign-keys", [&args, more, &[request.as_str()]].concat());
            must(
                "countersign-metadata",
                ["merge", "--repo", &self.world.repo(), "--draft", draft, &signature],
            );
        }
        format!("{}{}", review.out, review.err)
    }

    /// Drafts the trusted root, has it signed and published; returns what a keyholder was shown.
    pub(crate) fn publish_trusted_root(&self) -> String {
        let file = self.world.at("trusted_root.json");
        std::fs::write(&file, self.served.instance.trusted_root()).unwrap();
        let args = ["trusted-root", "--repo", &self.world.repo(), &text(&file), "--json"];
        let drafted: Value = serde_json::from_str(&must("countersign-metadata", args).out).unwrap();
        let draft = drafted["draft"].as_str().unwrap();
        let review = self.sign_draft(draft, "targets", &[]);
        self.world.publish(draft);
        review
    }

    /// A statement about a release by nobody yet.
    pub(crate) fn statement(&self, release: &Release, kind: &str) -> PathBuf {
        let path = self.world.at(&format!("{kind}.json"));
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let environment = release.environment.clone();
        let statement = match kind {
            "verdict" => json!(unsigned_verdict(release, now, environment, Outcome::Reproduced)),
            _ => provenance(release),
        };
        std::fs::write(&path, statement.to_string()).unwrap();
        path
    }

    pub(crate) fn try_sign(
        &self,
        instance: &Path,
        release: &Release,
        kind: &str,
        out: &Path,
        more: &[&str],
    ) -> Said {
        let (instance, out) = (text(instance), text(out));
        let (statement, token) = (text(&self.statement(release, kind)), text(&self.token()));
        let mut args = vec!["sign", "--instance", &instance, "-o", &out, &statement];
        if !more.contains(&"--token-file") {
            args.extend(["--token-file", &token]);
        }
        args.extend(more);
        run("countersign-keyless", args)
    }

    /// Signs keyless what `kind` says of a release.
    pub(crate) fn sign(&self, rekor_version: u32, release: &Release, kind: &str) -> PathBuf {
        let out = self.world.at(&format!("{kind}.sigstore.json"));
        let said = self.try_sign(&self.instance(rekor_version), release, kind, &out, &[]);
        assert_eq!(said.exit, 0, "{said:?}");
        assert!(said.mentions(&alice().name()), "{said:?}");
        out
    }

    /// A verdict signed offline by a managed key on P-256, then entered in the log.
    pub(crate) fn sign_managed(&self, rekor_version: u32, release: &Release) -> PathBuf {
        let (key, out) = (text(&self.managed()), self.world.at("managed.sigstore.json"));
        let statement = self.statement(release, "verdict");
        let mut value: Value = serde_json::from_slice(&std::fs::read(&statement).unwrap()).unwrap();
        value["predicate"]["verifier"]["id"] = self.managed_public().into();
        std::fs::write(&statement, value.to_string()).unwrap();
        let envelope = text(&self.world.at("managed.dsse.json"));
        must("countersign-keys", ["attest", "--key", &key, "-o", &envelope, &text(&statement)]);
        let instance = text(&self.instance(rekor_version));
        must("countersign-keyless", ["log", "--instance", &instance, "-o", &text(&out), &envelope]);
        out
    }

    /// The managed key as a policy and a statement name it.
    fn managed_public(&self) -> String {
        let pem = must("openssl", ["pkey", "-in", &text(&self.managed()), "-pubout"]).out;
        countersign_metadata::PublicKey::from_file_text(&pem).unwrap().to_string()
    }

    /// Attests as the repository manager does; returns what was said.
    pub(crate) fn attest(&self, bundle: &str) -> Value {
        let args = ["attest", "--repo", &self.world.repo(), bundle, "--json"];
        serde_json::from_str(&must("countersign-metadata", args).out).unwrap()
    }

    /// A node at 1.0.0 that wants two rebuilders and knows one identity and one key.
    pub(crate) fn install(&self) -> PathBuf {
        let node = self.world.at("node");
        let root = text(&self.world.root());
        let args = [
            "install",
            &text(&node),
            "--repository",
            self.world.url(),
            "--root",
            &root,
            "--product",
            PRODUCT,
        ];
        must("countersign-updater", args);
        let file =
            std::fs::OpenOptions::new().append(true).open(node.join("countersign-updater.toml"));
        let key = self.managed_public();
        let (identity, issuer) = (alice().identity, alice().issuer);
        writeln!(
            file.unwrap(),
            "\n[policy]\nreproducers = 2\nrebuilders = [{key:?}]\n\n[[policy.identities]]\n\
             label = \"Alice's rebuilder\"\nidentity = {identity:?}\nissuer = {issuer:?}"
        )
        .unwrap();
        node
    }

    pub(crate) fn explain(&self, node: &Path, more: &[&str]) -> Value {
        let node = text(node);
        let said = must("countersign-updater", [&["explain", &node, "--json"], more].concat());
        serde_json::from_str(&said.out).unwrap()
    }

    /// What a stranger finds out about the artifact.
    pub(crate) fn verify(&self, release: &Release) -> Value {
        let version = &release.version;
        let file = text(&self.world.at(&format!("built/{version}")).join(release.file_name()));
        let root = text(&self.world.root());
        let args = ["verify", &file, "--repository", self.world.url(), "--root", &root, "--json"];
        serde_json::from_str(&must("countersign-updater", args).out).unwrap()
    }
}

fn provenance(release: &Release) -> Value {
    let Release { product, version, platform, recipe, lock, .. } = release;
    json!({
        "_type": STATEMENT,
        "subject": [subject(release)],
        "predicateType": PROVENANCE,
        "predicate": {
            "buildDefinition": {
                "buildType": "https://countersign.dev/build/v1",
                "externalParameters": {
                    "product": product, "version": version, "platform": platform,
                    "recipe": recipe, "lock": lock,
                },
                "resolvedDependencies": [
                    { "name": "source", "digest": { "sha256": release.source.sha256 } },
                ],
            },
            "runDetails": {
                "builder": { "id": UNSIGNED },
                "metadata": { "startedOn": "2026-01-01T11:00:00Z", "finishedOn": "2026-01-01T11:01:00Z" },
            },
        },
    })
}

/// What `countersign-builder build -o DIR` writes, for a node that never runs.
fn write_release(dir: &Path, version: &str) -> Release {
    std::fs::create_dir_all(dir.join("inputs")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(0o755);
    header.set_size(0);
    tar.append_data(&mut header, "bin", [].as_slice()).unwrap();
    let script = format!("#!/bin/sh\n# {version}\n");
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(script.len() as u64);
    tar.append_data(&mut header, "bin/node", script.as_bytes()).unwrap();
    let tar = tar.into_inner().unwrap();
    let source = format!("the source of {version}").into_bytes();
    let blob = |bytes: &[u8]| Blob { sha256: Sha256::of(bytes), length: bytes.len() as u64 };
    let zero = Sha256::of(b"");
    let release: Release = serde_json::from_value(json!({
        "format": 1, "product": PRODUCT, "version": version, "platform": Platform::here(),
        "artifact": blob(&tar), "source": blob(&source), "recipe": zero, "lock": zero,
        "environment": { "kind": "host", "sha256": zero },
        "inputs": [{ "name": "source", "sha256": blob(&source).sha256, "length": source.len() }],
        "node": { "command": ["bin/node", "{state}"] },
    }))
    .unwrap();
    std::fs::write(dir.join(format!("inputs/{}", blob(&source).sha256)), &source).unwrap();
    let packed = zstd::encode_all(tar.as_slice(), 3).unwrap();
    std::fs::write(dir.join(release.file_name()), packed).unwrap();
    std::fs::write(dir.join("release.json"), serde_json::to_vec(&release).unwrap()).unwrap();
    release
}
