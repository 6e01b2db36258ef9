//! One node: its directory, its supervisor, its agent, and a client that writes all the while.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

use crate::client::{self, Load, Record, http_load};
use crate::programs::{self, Said};
use crate::wait;
use crate::world::{PRODUCT, free_address, text};

/// A node that was installed from a repository's address and its root file.
pub struct Site {
    directory: tempfile::TempDir,
    address: SocketAddr,
    supervisor: Child,
}

/// A node that was installed and never ran.
pub struct Installed {
    directory: tempfile::TempDir,
    address: SocketAddr,
}

impl Installed {
    /// Installs `version`. `shadow_for` is how long updates are watched in the shadow.
    pub fn new(url: &str, root: &Path, version: &str, delay: &str, shadow_for: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let node = text(&directory.path().join("node"));
        let address = free_address();
        let listen = format!("http={address}");
        programs::must(
            "countersign-updater",
            [
                "install",
                &node,
                "--repository",
                url,
                "--root",
                &text(root),
                "--product",
                PRODUCT,
                "--version",
                version,
                "--delay",
                delay,
                "--listen",
                &listen,
                "--check-every",
                "1s",
                "--shadow-for",
                shadow_for,
                "--probation-for",
                "2s",
            ],
        );
        Self { directory, address }
    }

    /// The node directory.
    pub fn node(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    /// Starts it under its supervisor.
    pub fn start(self) -> Site {
        let supervisor = Site::supervise(&text(&self.node()));
        let site = Site { directory: self.directory, address: self.address, supervisor };
        wait::until("the node answers", || site.version());
        site
    }
}

impl Site {
    /// Installs `version` and starts it under its supervisor.
    pub fn install(url: &str, root: &Path, version: &str, delay: &str, shadow_for: &str) -> Self {
        Installed::new(url, root, version, delay, shadow_for).start()
    }

    fn supervise(node: &str) -> Child {
        programs::command("countersign-updater", ["supervise", node])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the supervisor starts")
    }

    /// The node directory.
    pub fn node(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    /// Where the node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The version that answers `GET /node/version`, if any does.
    pub fn version(&self) -> Option<String> {
        let answer = client::http_load::get(self.address, "/node/version").ok()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer).ok()?;
        Some(answer.get("version")?.as_str()?.to_owned())
    }

    /// Runs the agent until nothing is under way.
    pub fn run(&self) -> Said {
        programs::run(
            "countersign-updater",
            ["run", &text(&self.node()), "--until-idle", "--poll", "100ms"],
        )
    }

    /// Starts an agent that kills itself at `moment` (`before:stop`, `after:switch`), and waits for its end.
    pub fn run_until_killed(&self, moment: &str) -> ExitStatus {
        programs::command("mortal-agent", [text(&self.node()).as_str(), moment])
            .stdout(Stdio::null())
            .status()
            .expect("the mortal agent starts")
    }

    /// Kills the supervisor, as a power cut would, and starts another.
    pub fn kill_supervisor(&mut self) {
        self.supervisor.kill().expect("the supervisor lives");
        self.supervisor.wait().expect("and is reaped");
        self.supervisor = Self::supervise(&text(&self.node()));
    }

    /// What the updater says of itself.
    pub fn status(&self) -> serde_json::Value {
        let said = programs::must("countersign-updater", ["status", "--json", &text(&self.node())]);
        serde_json::from_str(&said.out).expect("status prints JSON")
    }

    /// A client that writes until it is stopped.
    pub fn client(&self, rate: u32) -> Load {
        http_load::start(self.address, 4, rate)
    }

    /// Stops the client and reads back every value that was acknowledged to it.
    pub fn settle(&self, client: Load) -> Record {
        let record = client.stop().expect("the client ends");
        let missing = http_load::read_back(self.address, &record).expect("the node answers");
        assert!(missing.is_none(), "acknowledged and lost: {missing:?}");
        record
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let stopped = programs::run("kill", ["-TERM", &self.supervisor.id().to_string()]);
        if stopped.exit != 0 {
            let _gone = self.supervisor.kill();
        }
        let _gone = self.supervisor.wait();
    }
}
