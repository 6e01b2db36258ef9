//! An installed node with its repository, and lives of its agent.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use countersign_metadata::Sha256;
use countersign_updater::agent::{self, Options};
use countersign_updater::generation::Generation;
use countersign_updater::machine::state::Undo;
use countersign_updater::machine::{Effect, Ledger, Record, State, Until, Witness, journal};
use countersign_updater::supervise::{Client, Phase, Status};
use countersign_updater::{Home, doctor};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::clients::{Clients, until};
use crate::fixture::{PRODUCT, Repository};
use crate::program;

/// Set for a life that is to end: the node directory, and at which moment.
const NODE: &str = "COUNTERSIGN_TEST_NODE";
const MOMENT: &str = "COUNTERSIGN_TEST_MOMENT";
/// A test program whose main() does not ask for [`die_if_asked`] would run its tests in this life, and they theirs.
const NO_TEST: [&str; 2] = ["--exact", "a life of the agent"];
/// The moment of a life whose disk is full once the node has stopped.
const FULL: &str = "full";

/// A node, installed at version 1.0.0 with schema 1.
pub(crate) struct Node {
    dir: tempfile::TempDir,
    pub(crate) repository: Repository,
    pub(crate) home: Home,
    pub(crate) address: SocketAddr,
}

fn options() -> Options {
    Options { until: Until::Idle, poll: Duration::from_millis(100) }
}

/// In a life that is to end: runs the agent and kills this process.
pub(crate) fn die_if_asked() -> Option<ExitCode> {
    let home = Home::open(std::env::var_os(NODE)?.as_ref()).unwrap();
    let moment = std::env::var(MOMENT).unwrap();
    if moment == FULL {
        let options = Options { until: Until::Stopped, ..options() };
        agent::run(&home, options, &mut Fills).unwrap();
        return Some(ExitCode::SUCCESS);
    }
    let left = moment.parse().unwrap();
    agent::run(&home, options(), &mut Dies { left }).unwrap();
    Some(ExitCode::SUCCESS)
}

struct Dies {
    left: usize,
}

impl Dies {
    fn moment(&mut self) {
        if self.left == 0 {
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        self.left -= 1;
    }
}

impl Witness for Dies {
    fn before(&mut self, _effect: Effect) {
        self.moment();
    }

    fn after(&mut self, _effect: Effect) {
        self.moment();
    }
}

/// Fills the disk, as far as this process can tell, when the node has stopped.
struct Fills;

impl Witness for Fills {
    fn after(&mut self, effect: Effect) {
        if effect == Effect::Stop {
            // Without a handler the signal that comes with the error would end this process.
            let heard = std::sync::Arc::default();
            signal_hook::flag::register(Signal::SIGXFSZ as i32, heard).unwrap();
            let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
            setrlimit(Resource::RLIMIT_FSIZE, 0, hard).unwrap();
        }
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with("delay = \"0s..300ms\"\n")
    }

    /// A node with these lines in its configuration.
    pub(crate) fn with(config: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut this = Self { home: home(&dir), dir, repository: Repository::new(), address: free };
        this.publish("1.0.0", 1, "");
        this.install(config);
        this
    }

    fn install(&mut self, config: &str) {
        let (url, root) = (self.repository.url(), self.repository.root_file());
        let installed = Command::new(program())
            .args(["install", "--repository", &url, "--root", root.to_str().unwrap()])
            .args(["--product", PRODUCT, "--delay", "0s..300ms", "--check-every", "100ms"])
            .arg(self.dir.path().join("node"))
            .output()
            .unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let memory = if doctor::memory_limit_missing().is_some() { "none" } else { "256MiB" };
        let text = format!(
            "product = \"{PRODUCT}\"\nrepositories = [\"{url}\"]\n\
             check-every = \"100ms\"\nfree-space = \"1MiB\"\n{config}\n\
             [shadow]\nfor = \"100ms\"\nready = \"20s\"\nmemory = \"{memory}\"\n\
             [probation]\nfor = \"1500ms\"\ncrashes = 2\n"
        );
        fs::write(self.home.config_file(), text).unwrap();
    }

    /// Publishes another version, which fewer keyholders signed than must.
    pub(crate) fn publish_signed_by_one(&mut self, version: &str) {
        self.add(version, 1, "");
        self.repository.publish(1);
    }

    /// Takes the repository away.
    pub(crate) fn hide_repository(&self) {
        fs::rename(self.repository.dir.path(), self.dir.path().join("hidden")).unwrap();
    }

    /// Publishes another version.
    pub(crate) fn publish(&mut self, version: &str, schema: u32, flags: &str) {
        self.add(version, schema, flags);
        self.repository.publish(2);
    }

    /// Publishes another version with these areas beside the words.
    pub(crate) fn publish_with(&mut self, version: &str, schema: u32, flags: &str, more: Value) {
        self.add_with(version, schema, flags, more);
        self.repository.publish(2);
    }

    /// Publishes another version that asks operators for something.
    pub(crate) fn publish_asking(&mut self, version: &str, schema: u32, asks: Value) {
        self.add_with(version, schema, "", json!({ "actions": asks }));
        self.repository.publish(2);
    }

    /// Says anew when nodes take a version.
    pub(crate) fn roll_out(&mut self, version: &str, rollout: Value) {
        self.repository.rollouts.insert(version.to_owned(), rollout);
        self.repository.publish(2);
    }

    fn add(&mut self, version: &str, schema: u32, flags: &str) {
        self.add_with(version, schema, flags, json!({}));
    }

    fn add_with(&mut self, version: &str, schema: u32, flags: &str, more: Value) {
        let script = include_str!("node.pl")
            .replace("@VERSION@", version)
            .replace("@SCHEMA@", &schema.to_string())
            .replace("@FLAGS@", flags);
        let mut node = json!({
            "command": ["bin/node", "serve", "{state}"],
            "listen": { "http": self.address },
            "ready": "notify",
            "health": { "listen": "http", "path": "/node/version" },
            "stop-grace": 10,
            "areas": { "values": {
                "schema": schema,
                "migrate": ["bin/node", "migrate", "{state}", "{from}", "{to}"],
            } },
        });
        for (area, spec) in more["areas"].as_object().into_iter().flatten() {
            node["areas"][area] = spec.clone();
        }
        if let Some(identity) = more.get("identity") {
            node["identity"] = identity.clone();
        }
        let actions = more.get("actions").cloned().unwrap_or(json!({}));
        let more = json!({ "node": node, "actions": actions });
        self.repository.add(version, &[("bin/node*", &script)], more);
    }

    pub(crate) fn supervise(&self) -> Supervisor {
        let child = Command::new(program())
            .arg("supervise")
            .arg(self.home.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let supervisor = Supervisor(child);
        let client = Client::new(&self.home);
        until(|| client.status().is_ok_and(|status| status.phase == Phase::Ready));
        supervisor
    }

    /// One verb of the program on this node; its exit code.
    pub(crate) fn program(&self, words: &[&str]) -> i32 {
        let ended = Command::new(program()).args(words).arg(self.home.path()).output().unwrap();
        ended.status.code().unwrap()
    }

    /// One verb of the program on this node, with more words; its exit code, and what it said.
    pub(crate) fn tell(&self, verb: &str, words: &[&str]) -> (i32, String) {
        let ended =
            Command::new(program()).arg(verb).arg(self.home.path()).args(words).output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// A whole life of the agent, in a process of its own. Its last state.
    pub(crate) fn run(&self) -> State {
        assert!(!self.run_and_die(usize::MAX), "nobody was to kill it");
        self.state()
    }

    /// A life of the agent that is killed at this moment. Whether it came that far.
    pub(crate) fn run_and_die(&self, at: usize) -> bool {
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(NO_TEST)
            .env(NODE, self.home.path())
            .env(MOMENT, at.to_string())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() || ended.status.code().is_none(), "{told}");
        !ended.status.success()
    }

    /// A life of the agent that never ends by itself, on a disk that is full from the moment the node has stopped.
    pub(crate) fn run_on_a_disk_that_fills(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(NO_TEST)
            .env(NODE, self.home.path())
            .env(MOMENT, FULL)
            .spawn()
            .unwrap()
    }

    /// How the supervisor sees the node.
    pub(crate) fn status(&self) -> Status {
        Client::new(&self.home).status().unwrap()
    }

    /// Takes the artifacts away, and leaves what is signed.
    pub(crate) fn hide_artifacts(&self) {
        let mut open = vec![self.repository.dir.path().to_owned()];
        while let Some(dir) = open.pop() {
            for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    open.push(path);
                } else if path.to_string_lossy().ends_with(".tar.zst") {
                    fs::remove_file(path).unwrap();
                }
            }
        }
    }

    /// Overwrites the program of a staged release. Returns its path.
    pub(crate) fn damage(&self, artifact: &Sha256) -> PathBuf {
        let path = self.home.stored(artifact).join("tree/bin/node");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o555)).unwrap();
        path
    }

    /// A life of the agent that ends with the old version, which is ready.
    pub(crate) fn rolled_back(&self) -> Undo {
        let before = self.current();
        let undo = match self.run() {
            State::RolledBack { undo, .. } => undo,
            other => panic!("{other:?}, after {:#?}", self.records()),
        };
        let after = self.current();
        assert_eq!((&after.version, &after.binary), (&before.version, &before.binary));
        let client = Client::new(&self.home);
        until(|| client.status().is_ok_and(|status| status.phase == Phase::Ready));
        undo
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        journal::read(&self.home.journal()).unwrap().records
    }

    pub(crate) fn state(&self) -> State {
        Ledger::of(&self.records()).state
    }

    pub(crate) fn current(&self) -> Generation {
        Generation::current(&self.home).unwrap().unwrap()
    }

    /// The words in the live data directory, as clients sent them.
    pub(crate) fn words(&self) -> Vec<String> {
        self.words_of(self.current().state)
    }

    /// The words in a data directory.
    pub(crate) fn words_of(&self, data: u64) -> Vec<String> {
        let data = self.home.state(data);
        let text = fs::read_to_string(data.join("words")).unwrap();
        text.lines().map(|line| line.trim_start_matches("2:").to_owned()).collect()
    }

    /// No request failed, and every word that was acknowledged is there.
    pub(crate) fn keeps_all(&self, clients: Clients) {
        let (sent, failed) = clients.stop();
        assert_eq!(failed, Vec::<String>::new());
        let words: std::collections::BTreeSet<_> = self.words().into_iter().collect();
        assert!(sent.iter().all(|word| words.contains(word)), "an acknowledged write is gone");
    }
}

fn home(dir: &tempfile::TempDir) -> Home {
    Home::create(&dir.path().join("node")).unwrap()
}

/// A supervisor's process. Dropped, it and its node are gone.
pub(crate) struct Supervisor(Child);

impl Supervisor {
    /// TERM, and the node has ended with it.
    pub(crate) fn terminate(&mut self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).unwrap();
        until(|| self.0.try_wait().unwrap().is_some());
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.terminate();
        }
    }
}
