//! A small world: three keyholders, a repository, a server, and the releases of the example node.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::{programs, wait};

/// The example node's product name.
pub const PRODUCT: &str = "examplenode";

/// Keyholders, repository and server in one temporary directory.
pub struct World {
    directory: tempfile::TempDir,
    server: Child,
    url: String,
}

impl World {
    /// Makes the keys, publishes the first root, serves the repository.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |path: &str| directory.path().join(path);
        for who in ["alice", "bob", "carol", "online"] {
            std::fs::create_dir(at(who)).expect("a directory of their own");
            programs::must(
                "countersign-keys",
                [
                    "generate",
                    who,
                    "--label",
                    who,
                    "--no-password",
                    "--dir",
                    text(&at(who)).as_str(),
                ],
            );
        }
        let repo = text(&at("repo"));
        let mut init = vec!["init".to_owned(), "--repo".into(), repo.clone()];
        init.extend(["--product", PRODUCT, "--threshold", "2"].map(String::from));
        for who in ["alice", "bob", "carol"] {
            init.push("--keyholder".into());
            init.push(format!("{who}={}", text(&at(who).join(format!("{who}.pub")))));
        }
        init.extend(["--online".into(), text(&at("online/online.pub"))]);
        programs::must("countersign-metadata", &init);

        let public = at("repo/public");
        std::fs::create_dir_all(&public).expect("the public directory");
        let (server, url) = serve(&public);
        let this = Self { directory, server, url };
        for who in ["alice", "bob"] {
            for role in ["root", "targets", PRODUCT] {
                let request = this.at(&format!("repo/drafts/0001-init/{role}.request.json"));
                this.sign(who, &request, "0001-init", &[]);
            }
        }
        this.publish_with("0001-init", "--trust-first-root");
        std::fs::copy(this.at("repo/public/metadata/1.root.json"), this.root())
            .expect("the root file");
        this
    }

    /// A path in the world's directory.
    pub fn at(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// Where the repository is served.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The root file that a node's operator got by another way.
    pub fn root(&self) -> PathBuf {
        self.at("root.json")
    }

    /// The path of a keyholder's secret key file.
    pub fn key(&self, who: &str) -> String {
        text(&self.at(&format!("{who}/{who}.key")))
    }

    /// Lays out and locks the source of a version, and builds it.
    pub fn build(&self, version: &str) -> PathBuf {
        let source = self.source(version);
        let built = self.at(&format!("built/{version}"));
        programs::must("countersign-builder", ["build", &text(&source), "-o", &text(&built)]);
        built
    }

    /// Lays out and locks the source of a version.
    pub fn source(&self, version: &str) -> PathBuf {
        let source = self.at(&format!("src/{version}"));
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Releases that only a test needs are laid over 2.0.0.
        let overlay = here.join("releases").join(version);
        let base = if overlay.is_dir() { "2.0.0" } else { version };
        programs::must(&text(&here.join("../examples/node/source")), [base, &text(&source)]);
        if overlay.is_dir() {
            // Two of them differ in their version alone: one of those is a link.
            programs::must("cp", ["-RL", &format!("{}/.", text(&overlay)), &text(&source)]);
        }
        programs::must("countersign-builder", ["lock", &text(&source)]);
        source
    }

    /// Drafts a built version; returns the draft's name.
    pub fn draft(&self, version: &str) -> String {
        let built = self.at(&format!("built/{version}"));
        let name = format!("v{version}");
        programs::must(
            "countersign-metadata",
            ["draft", "--repo", &self.repo(), "--release", &text(&built), "--name", &name],
        );
        let drafts = std::fs::read_dir(self.at("repo/drafts")).expect("drafts");
        drafts
            .map(|d| d.expect("a draft").file_name().to_string_lossy().into_owned())
            .find(|d| d.ends_with(&format!("-{name}")))
            .expect("the draft just made")
    }

    /// A keyholder rebuilds a draft under variation, signs the verdict, then the release.
    pub fn vouch(&self, who: &str, draft: &str, vary: &str) {
        let mine = self.at(&format!("{who}/{draft}"));
        let identity = text(&self.at(&format!("{who}/{who}.pub")));
        programs::must(
            "countersign-builder",
            [
                "rebuild",
                "--release",
                &text(&self.at(&format!("repo/drafts/{draft}"))),
                "--vary",
                vary,
                "-o",
                &text(&mine),
                "--identity-file",
                &identity,
                "--signer",
                &self.signer(who),
            ],
        );
        let request = self.at(&format!("repo/drafts/{draft}/{PRODUCT}.request.json"));
        let verdict = text(&mine.join("verdict.dsse.json"));
        self.sign(who, &request, draft, &["--rebuilt", &verdict]);
    }

    /// Publishes a draft that has its signatures.
    pub fn publish(&self, draft: &str) {
        self.publish_with(draft, "");
    }

    fn publish_with(&self, draft: &str, extra: &str) {
        let signer = format!("{} {extra}", self.signer("online"));
        programs::must(
            "countersign-metadata",
            ["publish", "--repo", &self.repo(), draft, "--signer", signer.trim()],
        );
    }

    /// The whole way of a release.
    pub fn release(&self, version: &str) {
        self.build(version);
        let draft = self.draft(version);
        self.vouch("alice", &draft, "path,user,hostname");
        self.vouch("bob", &draft, "time,cpus");
        self.publish(&draft);
    }

    /// The repository manager's directory.
    pub fn repo(&self) -> String {
        text(&self.at("repo"))
    }

    /// A signer command with this keyholder's key.
    pub fn signer(&self, who: &str) -> String {
        format!("{} sign --yes --key {}", text(&programs::path("countersign-keys")), self.key(who))
    }

    fn sign(&self, who: &str, request: &Path, draft: &str, extra: &[&str]) {
        let signature = text(&self.at(&format!(
            "{who}/{}.signature.json",
            request.file_name().map_or("request".into(), |n| n.to_string_lossy())
        )));
        let key = self.key(who);
        let request = text(request);
        let mut args = vec!["sign", "--yes", "--key", &key, "-o", &signature];
        args.extend(extra);
        args.push(&request);
        let _again = std::fs::remove_file(&signature);
        programs::must("countersign-keys", &args);
        programs::must(
            "countersign-metadata",
            ["merge", "--repo", &self.repo(), "--draft", draft, &signature],
        );
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _gone = self.server.kill();
        let _gone = self.server.wait();
    }
}

/// Serves a directory with the repository manager's own small server; returns it and its address.
pub fn serve(public: &Path) -> (Child, String) {
    let address = free_address();
    let listen = address.to_string();
    let server =
        programs::command("countersign-metadata", ["serve", &text(public), "--listen", &listen])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
    wait::until("the repository is served", || std::net::TcpStream::connect(address).ok());
    (server, format!("http://{address}"))
}

/// An address on loopback whose port was free a moment ago.
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

/// A path as text.
pub fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are text").to_owned()
}
