//! A repository manager's desk: a work directory, three keyholders, a builder's output.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use countersign_metadata::digest::Hasher;
use countersign_metadata::release::{Blob, Environment, EnvironmentKind, Input, Urgency};
use countersign_metadata::request::{
    FORMAT, RequestSubject, Signature, Signatures, SigningRequest,
};
use countersign_metadata::statement::{self, Outcome};
use countersign_metadata::trust::{Kept, Releases, Source, SourceError, Trust, TrustError};
use countersign_metadata::{Release, Sha256, dsse};
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::key::TestKey;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-metadata");

/// Seeds: 1 alice, 2 bob, 3 carol, 9 the online key.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
}

/// What a run of the program came to.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) json: Value,
}

impl Site {
    /// With key files, and nothing else.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let more = [("dave", 4), ("erin", 5), ("frank", 6), ("online2", 10)];
        for (name, seed) in
            [("alice", 1), ("bob", 2), ("carol", 3), ("online", 9)].into_iter().chain(more)
        {
            let text = TestKey::new(seed).public_file();
            fs::write(dir.path().join(format!("{name}.pub")), text).unwrap();
        }
        Self { dir }
    }

    /// With a first publication.
    pub(crate) fn published() -> Self {
        let site = Self::new();
        site.init();
        site.sign("0001-init", &[1, 2]);
        assert_eq!(site.publish(9).code, 0);
        site
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Runs the program with `--json` in the site's directory.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let output = self.raw(&[arguments, &["--json"]].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        let json = serde_json::from_str(&text).map_err(|e| format!("{e}: {text:?} {errors}"));
        let json = json.unwrap();
        Run { code: output.status.code().unwrap(), json }
    }

    /// Runs the program as a person does.
    pub(crate) fn raw(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM).args(arguments).current_dir(self.dir.path()).output().unwrap()
    }

    pub(crate) fn init(&self) -> Run {
        self.init_with(&[])
    }

    pub(crate) fn init_with(&self, more: &[&str]) -> Run {
        let arguments = [
            "init",
            "--repo",
            "REPO",
            "--product",
            "demo",
            "--threshold",
            "2",
            "--keyholder",
            "alice=alice.pub",
            "--keyholder",
            "bob=bob.pub",
            "--keyholder",
            "carol=carol.pub",
            "--online",
            "online.pub",
        ];
        self.run(&[&arguments, more].concat())
    }

    /// Each of `seeds` signs every role of a draft, and the signatures are merged.
    pub(crate) fn sign(&self, draft: &str, seeds: &[u8]) {
        for request in self.requests(draft) {
            for &seed in seeds {
                let file = self.answer(&request, seed, |_| {});
                let run = self.run(&["merge", "--repo", "REPO", &file]);
                assert_eq!(run.code, 0, "{}", run.json);
            }
        }
    }

    pub(crate) fn requests(&self, draft: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("REPO/drafts").join(draft)).unwrap();
        let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
        paths.retain(|p| p.to_string_lossy().ends_with(".request.json"));
        paths.sort();
        paths
    }

    /// A signature file by `seed`, changed by `change` before it is written.
    pub(crate) fn answer(
        &self,
        request: &Path,
        seed: u8,
        change: impl FnOnce(&mut Signature),
    ) -> String {
        let request: SigningRequest = serde_json::from_slice(&fs::read(request).unwrap()).unwrap();
        let sign = |request: &SigningRequest| {
            TestKey::new(seed).answer(request, "a label of the signer's own")
        };
        let bytes = if let RequestSubject::Renewal(renewal) = &request.subject {
            let one = |file| sign(&renewal.request(file).unwrap());
            let mut signatures: Vec<_> = renewal.files.iter().map(one).collect();
            change(signatures.last_mut().unwrap());
            serde_json::to_vec(&Signatures { format: FORMAT, signatures }).unwrap()
        } else {
            let mut signature = sign(&request);
            change(&mut signature);
            serde_json::to_vec(&signature).unwrap()
        };
        let name = format!("{}.sig.json", Sha256::of(&bytes).short());
        fs::write(self.path(&name), bytes).unwrap();
        name
    }

    pub(crate) fn signer(seed: u8) -> String {
        let examples = Path::new(PROGRAM).parent().unwrap().join("examples/test_signer");
        assert!(examples.exists(), "cargo test builds examples; run it without --test");
        format!("'{}' {seed} online", examples.display())
    }

    pub(crate) fn publish(&self, online: u8) -> Run {
        self.run(&["publish", "--repo", "REPO", "--signer", &Self::signer(online)])
    }

    /// Version 1.0.0 released, signed by alice and bob.
    pub(crate) fn released() -> Self {
        let site = Self::published();
        site.release("1.0.0", &[1, 2]);
        site
    }

    /// A release from build to publication.
    pub(crate) fn release(&self, version: &str, seeds: &[u8]) {
        self.build(version, version);
        let run = self.draft(version);
        assert_eq!(run.code, 0, "{}", run.json);
        self.sign(run.json["draft"].as_str().unwrap(), seeds);
        let run = self.publish(9);
        assert_eq!(run.code, 0, "{}", run.json);
    }

    /// Writes what `countersign-builder build -o OUT` writes.
    pub(crate) fn build(&self, out: &str, version: &str) -> Release {
        self.build_with(out, version, format!("version {version}").as_bytes())
    }

    /// The tar of a program with this content.
    pub(crate) fn tar(content: &[u8]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_cksum();
        tar.append_data(&mut header, "bin/demo", content).unwrap();
        tar.into_inner().unwrap()
    }

    /// [`Site::build`] of a program with this content.
    pub(crate) fn build_with(&self, out: &str, version: &str, content: &[u8]) -> Release {
        let out = self.path(out);
        fs::create_dir_all(out.join("inputs")).unwrap();
        let tar = Self::tar(content);
        let source = format!("the source of {version}").into_bytes();
        let release = Release {
            format: 1,
            product: "demo".parse().unwrap(),
            version: version.parse().unwrap(),
            platform: "linux-x86_64".parse().unwrap(),
            artifact: blob(&tar),
            source: blob(&source),
            recipe: Sha256::of(b"recipe"),
            lock: Sha256::of(b"lock"),
            environment: Environment { kind: EnvironmentKind::Host, sha256: Sha256::of(b"env") },
            inputs: vec![
                Input { name: "source".to_owned(), blob: blob(&source) },
                Input { name: "crates:left@1.0.0".to_owned(), blob: blob(b"left") },
            ],
            node: None,
            follows: None,
            protocol: None,
            urgency: Urgency::Normal,
            revokes: Default::default(),
            actions: Default::default(),
            notes: "What a release brings".to_owned(),
        };
        for bytes in [source.as_slice(), b"left"] {
            fs::write(out.join(format!("inputs/{}", Sha256::of(bytes))), bytes).unwrap();
        }
        let packed = zstd::encode_all(tar.as_slice(), 3).unwrap();
        fs::write(out.join(release.file_name()), packed).unwrap();
        fs::write(out.join("release.json"), serde_json::to_vec(&release).unwrap()).unwrap();
        release
    }

    pub(crate) fn draft(&self, out: &str) -> Run {
        self.run(&["draft", "--repo", "REPO", "--release", out])
    }

    /// What a node sees that begins from the first root.
    pub(crate) fn client(&self) -> Result<Releases, TrustError> {
        self.follow(&Kept::new()).map(|(releases, _)| releases)
    }

    /// What a node sees that continues from what it kept, and what it keeps then.
    pub(crate) fn follow(&self, kept: &Kept) -> Result<(Releases, Kept), TrustError> {
        let mut source = Disk(self.path("REPO/public"));
        let root = fs::read(self.path("REPO/public/metadata/1.root.json")).unwrap();
        let mut trust = Trust::restore(&root, kept, Timestamp::now())?;
        trust.refresh(Timestamp::now(), &mut source)?;
        let releases = trust.releases(&"demo".parse().unwrap(), Timestamp::now(), &mut source)?;
        Ok((releases, trust.kept()))
    }
}

pub(crate) fn verdict(release: &Release, seed: u8, outcome: Outcome) -> dsse::Envelope {
    let key = TestKey::new(seed);
    let environment = release.environment.clone();
    key.envelope(&statement::verdict(release, &key.public, Timestamp::now(), environment, outcome))
}

pub(crate) fn blob(bytes: &[u8]) -> Blob {
    let mut hasher = Hasher::default();
    hasher.write_all(bytes).unwrap();
    let (sha256, length) = hasher.finish();
    Blob { sha256, length }
}

pub(crate) struct Disk(pub(crate) PathBuf);

impl Source for Disk {
    fn fetch(&mut self, path: &str, _: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(fs::read(self.0.join(path)).ok())
    }
}
