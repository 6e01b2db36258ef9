//! A node directory with a live node below a real supervisor, and a staged release.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use countersign_metadata::{NodeSpec, Sha256};
use countersign_updater::fetch::fetch;
use countersign_updater::generation::{self, Generation, Launch};
use countersign_updater::policy::{self, Facts};
use countersign_updater::shadow::{self, Report};
use countersign_updater::stage::{StagedVersion, stage};
use countersign_updater::supervise::{Client, Phase, Status};
use countersign_updater::{Config, Home, doctor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::{request, until};
use crate::fixture::{PRODUCT, Repository, release, tar_of};

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-updater");

/// Clients that ask all the while.
const CLIENTS: usize = 4;

pub(crate) struct Scene {
    dir: TempDir,
    home: Home,
    config: Config,
    staged: StagedVersion,
    pub(crate) address: SocketAddr,
    supervisor: Option<Child>,
}

/// A node that answers what it is asked with its version; with `answer` it does that instead, and `first` before all.
pub(crate) fn perl(says: &str, answer: &str, first: &str) -> String {
    format!(
        r#"#!/usr/bin/perl
use Socket;
$| = 1;
open(my $listener, '+<&=', 3) or die "no socket: $!";
{first}
if (my $to = $ENV{{NOTIFY_SOCKET}}) {{
    socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die;
    send($s, "READY=1", 0, sockaddr_un($to)) or die "cannot notify: $!";
}}
while (accept(my $client, $listener)) {{
    while (<$client>) {{ last if /^\r?$/ }}
    {answer}
    my $body = '{{"product":"{PRODUCT}","version":"{says}"}}';
    print $client "HTTP/1.1 200 OK\r\ncontent-length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}}
"#
    )
}

fn node(address: SocketAddr, udp: &[u16]) -> Value {
    json!({
        "shadow": { "udp": udp },
        "command": ["bin/node", "serve", "--state", "{state}"],
        "listen": { "http": address },
        "ready": "notify",
        "stop-grace": 1,
    })
}

impl Scene {
    /// `live` runs below a supervisor; `shadow` is a release that is to be tried.
    pub(crate) fn new(live: &[u8], shadow: &[u8], window: Duration, share: &str) -> Self {
        Self::staged(shadow, window, share, &[]).supervised(live)
    }

    /// The same, with a UDP port.
    pub(crate) fn with_udp(live: &[u8], shadow: &[u8], window: Duration, port: u16) -> Self {
        Self::staged(shadow, window, "100%", &[port]).supervised(live)
    }

    pub(crate) fn without_supervisor(shadow: &[u8], window: Duration, share: &str) -> Self {
        Self::staged(shadow, window, share, &[])
    }

    fn supervised(self, live: &[u8]) -> Self {
        let mut this = self;
        let binary = Sha256::of(live);
        let bin = this.home.stored(&binary).join("tree/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("node"), live).unwrap();
        fs::set_permissions(bin.join("node"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(this.home.state(1)).unwrap();
        let spec: NodeSpec = serde_json::from_value(node(this.address, &[])).unwrap();
        Generation {
            number: 1,
            product: PRODUCT.parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            binary,
            state: 1,
            areas: BTreeMap::new(),
            held: BTreeMap::new(),
            protocol: None,
            launch: Launch::new(&spec, &BTreeMap::new()),
        }
        .write(&this.home)
        .unwrap();
        generation::switch_to(&this.home, 1).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("supervise").arg(this.home.path()).stdout(Stdio::null()).stderr(Stdio::null());
        this.supervisor = Some(command.spawn().unwrap());
        until(|| this.status().is_some_and(|status| status.phase == Phase::Ready));
        this
    }

    fn staged(shadow: &[u8], window: Duration, share: &str, udp: &[u16]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut repository = Repository::new();
        let tar = tar_of(&[("bin/node*", shadow)]);
        let release = release("2.0.0", &tar, json!({ "node": node(address, udp) }));
        repository.add_tar(&release, &tar);
        repository.publish(2);
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("node")).unwrap();
        let memory = if doctor::memory_limit_missing().is_some() { "none" } else { "512MiB" };
        let text = format!(
            "product = \"{PRODUCT}\"\nrepositories = [\"{}\"]\n[shadow]\nfor = \"{}ms\"\n\
             ready = \"20s\"\nmemory = \"{memory}\"\nmirror = \"{share}\"",
            repository.url(),
            window.as_millis()
        );
        home.finish(&text).unwrap();
        let config = Config::load(&home).unwrap();
        let facts = Facts {
            running: None,
            known_bad: &BTreeMap::new(),
            reproduced: &BTreeMap::new(),
            ages: &BTreeMap::new(),
            held: &BTreeMap::new(),
            only: None,
        };
        let choice = policy::choose(&config, &repository.releases(), facts);
        let fetched = fetch(&home, &config, choice.approved.unwrap(), &mut |_| {}).unwrap();
        let staged = stage(&home, fetched).unwrap();
        Self { dir, home, config, staged, address, supervisor: None }
    }

    pub(crate) fn status(&self) -> Option<Status> {
        Client::new(&self.home).status().ok()
    }

    /// Waits until a share of the live connections goes through the tee.
    pub(crate) fn until_mirrored(&self) {
        until(|| self.status().is_some_and(|status| status.mirrored.is_some()));
    }

    /// The release in the shadow.
    pub(crate) fn try_it(&self) -> Report {
        let copy = self.dir.path().join("copy");
        fs::create_dir_all(&copy).unwrap();
        // What runs, if anything does, is tried beside it.
        let old = self.supervisor.as_ref().map(|_| Generation::read(&self.home, 1).unwrap());
        let old = old.as_ref();
        let report = shadow::run(&self.home, &self.config, &self.staged, &copy, old).unwrap();
        report.report().clone()
    }

    /// The same while clients ask the live node, and what they say of it.
    pub(crate) fn tried_under_load(&self) -> (Report, Vec<String>) {
        let over = AtomicBool::new(false);
        let client = || {
            let mut failed = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let answer = request(self.address, "GET /node/version");
                failed.extend(answer.err().map(|error| error.to_string()));
            }
            failed
        };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
            let report = self.try_it();
            over.store(true, Ordering::SeqCst);
            (report, clients.into_iter().flat_map(|client| client.join().unwrap()).collect())
        })
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let _gone = kill(Pid::from_raw(supervisor.id().cast_signed()), Signal::SIGTERM);
            let _ended = supervisor.wait();
        }
    }
}
