//! The updater updates itself: agent and supervisor are replaced under load, a broken one goes back, and whatever was
//! killed in between goes on from what lies on the disk.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign_updater::selfupdate::{Attempt, Place};
use countersign_updater::supervise::Phase;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::clients::{Clients, pause};
use crate::fixture::{self, PRODUCT, Repository};
use crate::node::Node;
use crate::program;

/// Nothing takes that long; it ends a test that would hang.
const CAP: Duration = Duration::from_secs(300);

fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + CAP;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within {CAP:?}");
        pause();
    }
}

/// A node, a repository of updaters, and whatever starts agent and supervisor again when they end.
struct Site {
    node: Node,
    updaters: Repository,
    supervisor: Service,
    agent: Service,
}

/// As a service manager does it: always the same program, never the one that took its place.
struct Service {
    words: Vec<String>,
    child: Child,
}

impl Service {
    fn start(words: &[&str], node: &Node) -> Self {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        words.push(node.home.path().display().to_string());
        Self { child: Self::spawn(&words), words }
    }

    fn spawn(words: &[String]) -> Child {
        Command::new(program()).args(words).stdout(Stdio::null()).spawn().unwrap()
    }

    fn again_if_it_ended(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            self.child = Self::spawn(&self.words);
        }
    }

    /// KILL, and nobody starts it again.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn runs(&self) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/exe", self.child.id())).ok()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _gone = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
            let _ended = self.child.wait();
        }
    }
}

impl Site {
    fn new() -> Self {
        let updaters = Repository::with_root(9);
        let node = Node::with(&format!(
            "delay = \"0s..300ms\"\n\n[updater]\nproduct = \"{PRODUCT}\"\nrepositories = [\"{}\"]\n\
             root = \"{}\"\ndelay = \"0s..100ms\"\n",
            updaters.url(),
            updaters.root_file().display()
        ));
        let supervisor = Service::start(&["supervise"], &node);
        let client = countersign_updater::supervise::Client::new(&node.home);
        eventually(|| client.status().is_ok_and(|status| status.phase == Phase::Ready));
        let agent = Service::start(&["run", "--poll", "100ms"], &node);
        Self { node, updaters, supervisor, agent }
    }

    fn place(&self) -> Place {
        Place::of(&self.node.home)
    }

    fn publish(&mut self, version: &str, program: &[u8]) {
        let tar = fixture::tar_of(&[("bin/countersign-updater*", program)]);
        let node = json!({ "command": ["bin/countersign-updater", "run", "{state}"] });
        let release = fixture::release(version, &tar, json!({ "node": node }));
        self.updaters.add_tar(&release, &tar);
        self.updaters.publish(2);
    }

    fn publish_this_program(&mut self, version: &str) {
        self.publish(version, &fs::read(program()).unwrap());
    }

    fn keep_up(&mut self) {
        self.supervisor.again_if_it_ended();
        self.agent.again_if_it_ended();
    }

    /// Whether both run what `current` names, and nothing is left to prove.
    fn has_become(&self, version: &str) -> bool {
        let place = self.place();
        let named = place.program();
        let supervisor = countersign_updater::supervise::Client::new(&self.node.home).status();
        named.is_some()
            && place.version().is_some_and(|(_, named)| named.to_string() == version)
            && place.attempt().unwrap().is_none()
            && self.agent.runs() == named
            && supervisor.is_ok_and(|status| status.program == named)
    }

    fn eventually(&mut self, condition: impl Fn(&Self) -> bool) {
        eventually(|| {
            self.keep_up();
            condition(self)
        });
    }
}

pub(crate) fn under_load() {
    let mut site = Site::new();
    let clients = Clients::start(site.node.address, 3);
    clients.wait_for(20);
    let before = site.node.status();
    site.publish_this_program("9.0.0");
    site.eventually(|site| site.has_become("9.0.0"));
    clients.wait_for(20);
    let after = site.node.status();
    assert_eq!((after.pid, after.supervisor), (before.pid, before.supervisor));
    // The new updater goes on with what is the updater's work.
    site.node.publish("2.0.0", 2, "");
    site.eventually(|site| site.node.current().version.to_string() == "2.0.0");
    // Another one, from one that is named to the next.
    site.eventually(|site| site.node.state().is_rest());
    site.publish_this_program("9.1.0");
    site.eventually(|site| site.has_become("9.1.0"));
    clients.wait_for(20);
    site.node.keeps_all(clients);
}

pub(crate) fn broken() {
    let mut site = Site::new();
    let clients = Clients::start(site.node.address, 3);
    let before = site.node.status();
    let bad = |site: &Site, version: &str| {
        site.place().bad().values().any(|reason| reason.starts_with(&format!("version {version}:")))
    };
    // One that cannot even read the node directory is never named.
    site.publish("9.0.0", b"#!/bin/sh\ntest \"$1\" = --version\n");
    site.eventually(|site| bad(site, "9.0.0"));
    assert_eq!(site.place().named(), None);
    // One that can, and dies as soon as it is to work, is put back by the program that the service starts.
    let dies = b"#!/bin/sh\ncase $1 in --version|rehearse) exit 0;; esac\nexit 1\n";
    site.publish("9.1.0", dies);
    site.eventually(|site| bad(site, "9.1.0"));
    site.eventually(|site| site.place().named().is_none());
    // Its note goes after its name.
    site.eventually(|site| site.place().attempt().unwrap().is_none());
    let first = fs::canonicalize(program()).unwrap();
    site.eventually(|site| site.agent.runs().as_ref() == Some(&first));
    // And the node is updated as if nothing had been.
    site.node.publish("2.0.0", 2, "");
    site.eventually(|site| site.node.current().version.to_string() == "2.0.0");
    assert_eq!(site.node.status().supervisor, before.supervisor);
    clients.wait_for(20);
    site.node.keeps_all(clients);
}

pub(crate) fn killed() {
    let mut site = Site::new();
    let place = site.place();
    let clients = Clients::start(site.node.address, 3);
    site.publish_this_program("9.0.0");
    site.eventually(|site| site.has_become("9.0.0"));
    let (artifact, version) = place.version().unwrap();
    let to = place.named().unwrap();
    let began = Attempt { from: None, to: to.clone(), artifact, version, run: 0, supervise: 0 };

    // Noted, and not renamed: it is begun anew. The agent is the one before, as it was then.
    site.agent.kill();
    place.note(&began).unwrap();
    fs::remove_file(place.dir().join("current")).unwrap();
    site.eventually(|site| site.has_become("9.0.0"));

    // Renamed, and nobody became it: the supervisor is still the one before.
    site.agent.kill();
    site.supervisor.kill();
    fs::remove_file(place.dir().join("current")).unwrap();
    place.settle().unwrap();
    site.supervisor.again_if_it_ended();
    let node = &site.node;
    eventually(|| {
        let client = countersign_updater::supervise::Client::new(&node.home);
        client.status().is_ok_and(|status| status.phase == Phase::Ready)
    });
    let before = site.node.status();
    place.note(&began).unwrap();
    place.point_to(&to).unwrap();
    site.eventually(|site| site.has_become("9.0.0"));
    let after = site.node.status();
    assert_eq!((after.pid, after.supervisor), (before.pid, before.supervisor));

    // Both became it, and nobody said so; the agent is killed, and started again by the service.
    site.agent.kill();
    place.note(&Attempt { run: 1, supervise: 1, ..began.clone() }).unwrap();
    site.eventually(|site| site.has_become("9.0.0"));

    // Condemned, and not put back yet; and put back, but still noted.
    site.agent.kill();
    place.condemn(artifact, "version 9.0.0: a test says so").unwrap();
    place.note(&began).unwrap();
    site.eventually(|site| {
        site.place().named().is_none() && site.place().attempt().unwrap().is_none()
    });
    place.note(&began).unwrap();
    site.agent.kill();
    site.eventually(|site| site.place().attempt().unwrap().is_none());
    clients.wait_for(20);
    // The supervisor was killed once: its successor stops the node that was left, and closes no connection that
    // somebody accepted, but for a moment nobody listens.
    let (sent, failed) = clients.stop();
    assert!(
        failed.iter().all(|error| error.contains("refused") || error.contains("reset")),
        "{failed:?}"
    );
    let words: std::collections::BTreeSet<_> = site.node.words().into_iter().collect();
    assert!(sent.iter().all(|word| words.contains(word)), "an acknowledged write is gone");
}
