//! Power cuts on a real file system: an update is recorded write by write below ext4, and the node must go on after a
//! cut at any of them, whatever the disk did with what was not flushed, and after another cut inside that recovery.
//!
//! `COUNTERSIGN_CUTS`: how many cuts to try, spread over the update, or `all` for each way to lose what was not
//! flushed at each operation. `COUNTERSIGN_FILE_SYSTEM`: `ext4` or `xfs`. Needs root, FUSE and loop devices.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests whose main() is ours"
)]

#[path = "../common/clients.rs"]
#[expect(dead_code, reason = "this test's own client notes what the disk had seen")]
mod clients;
mod disk;
#[path = "../../src/fixture/mod.rs"]
mod fixture;
mod life;
mod mounted;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::sync::Mutex;

use libtest_mimic::{Arguments, Trial};
use serde_json::json;

use disk::{Cut, Op};
use life::{Order, Scene, Task};

/// Set for a process that is to obey an order: the order's file.
const ORDER: &str = "COUNTERSIGN_POWERCUT_ORDER";
const CUTS: &str = "COUNTERSIGN_CUTS";

/// Waiting for probes and processes is most of a recovery.
const AT_ONCE: usize = 4;

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    if let Some(order) = std::env::var_os(ORDER) {
        serde_json::from_slice::<Order>(&fs::read(order).unwrap()).unwrap().obey();
        return ExitCode::SUCCESS;
    }
    let able = nix::unistd::geteuid().is_root() && Path::new("/dev/fuse").exists();
    let tests: [(&str, fn()); 3] = [
        ("after_a_power_cut_at_any_write_of_an_update_the_node_goes_on_with_every_word", || {
            goes_on(Scene::Forward);
        }),
        ("after_a_power_cut_at_any_write_of_a_roll_back_the_node_goes_on_with_every_word", || {
            goes_on(Scene::Back);
        }),
        ("the_disk_forgets_what_was_not_flushed", forgets),
    ];
    let trials = tests.map(|(name, test)| {
        let trial = Trial::test(name, move || {
            test();
            Ok(())
        });
        trial.with_ignored_flag(!able)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

fn goes_on(scene: Scene) {
    let recording = Recording::new(scene);
    let orders = cuts(recording.operations());
    let (tried, again) = (orders.len(), orders.iter().filter(|o| is_twice(o)).count());
    let failed = recording.give_all(orders);
    println!(
        "{scene:?} on {}: {} writes and flushes recorded; {tried} power cuts, {again} of them with another one inside \
         the recovery: {} nodes did not go on",
        file_system(),
        recording.operations(),
        failed.len()
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The control: where a node answers before its disk has the word, the words of the last moments are gone.
fn forgets() {
    let recording = Recording::new(Scene::Careless);
    let n = recording.last_operation_of_the_update();
    let failed = recording.give_all(vec![Task::GoOn { n, cut: Cut::Lost, again: None }]);
    assert!(failed.iter().any(|why| why.contains("was acknowledged and is gone")), "{failed:?}");
}

fn file_system() -> String {
    std::env::var("COUNTERSIGN_FILE_SYSTEM").unwrap_or_else(|_| "ext4".into())
}

/// An update as the disk saw it.
struct Recording {
    directory: tempfile::TempDir,
    repository: fixture::Repository,
    address: SocketAddr,
    scene: Scene,
    log: Vec<Op>,
}

impl Recording {
    fn new(scene: Scene) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let repository = publish(address, scene);
        let mut this = Self { directory, repository, address, scene, log: Vec::new() };
        let recorded = this.give(Task::Record, "record");
        assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
        this.log = disk::load_log(&this.directory.path().join("log")).unwrap();
        this
    }

    fn operations(&self) -> usize {
        self.log.len()
    }

    /// Before the node was stopped and the disk unmounted in good order.
    fn last_operation_of_the_update(&self) -> usize {
        let words = fs::read(self.directory.path().join("words")).unwrap();
        let words: Vec<(String, usize)> = serde_json::from_slice(&words).unwrap();
        words.last().unwrap().1
    }

    /// Has all these orders obeyed, some at a time; what went wrong.
    fn give_all(&self, orders: Vec<Task>) -> Vec<String> {
        let failed = Mutex::new(Vec::new());
        let orders = Mutex::new(orders.into_iter().enumerate());
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    loop {
                        let Some((number, task)) = orders.lock().unwrap().next() else { return };
                        let told = json!(task);
                        let ended = self.give(task, &number.to_string());
                        if !ended.status.success() {
                            let why = String::from_utf8_lossy(&ended.stderr).into_owned();
                            failed.lock().unwrap().push(format!("{told}: {why}"));
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap()
    }

    /// Has a process of its own obey, with mounts, process numbers and a network that nobody else has.
    fn give(&self, task: Task, name: &str) -> Output {
        let order = Order {
            directory: self.directory.path().to_owned(),
            repository: self.repository.url(),
            root: self.repository.root_file(),
            address: self.address,
            file_system: file_system(),
            scene: self.scene,
            task,
        };
        let file = order.file(&format!("order-{name}"));
        fs::write(&file, serde_json::to_vec(&order).unwrap()).unwrap();
        Command::new("unshare")
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", "-c", "ip link set lo up && exec \"$0\""])
            .arg(std::env::current_exe().unwrap())
            .env(ORDER, &file)
            .output()
            .unwrap()
    }
}

fn is_twice(task: &Task) -> bool {
    matches!(task, Task::GoOn { again: Some(_), .. })
}

/// The cuts to try: a number of them spread over the log, or every one. A third is followed by another cut.
fn cuts(operations: usize) -> Vec<Task> {
    let asked = std::env::var(CUTS).unwrap_or_else(|_| "8".into());
    let number = match asked.as_str() {
        "all" => 4 * operations,
        number => number.parse().unwrap_or_else(|_| panic!("{CUTS}: a number, or all")),
    };
    (0..number)
        .map(|k| {
            let seed = (k as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
            let cut = match k % 4 {
                0 => Cut::Mixed(seed),
                1 => Cut::Lost,
                2 => Cut::Torn,
                _ => Cut::Kept,
            };
            let n = 1 + k * operations / number;
            Task::GoOn { n, cut, again: (k % 3 == 0).then_some(seed) }
        })
        .collect()
}

/// Two versions of the small node; the second one changes the schema.
fn publish(address: SocketAddr, scene: Scene) -> fixture::Repository {
    let mut repository = fixture::Repository::new();
    let [old, new] = scene.flags();
    for (version, schema, flags) in [("1.0.0", 1, old), ("2.0.0", 2, new)] {
        let script = include_str!("../agent/node.pl")
            .replace("@VERSION@", version)
            .replace("@SCHEMA@", &schema.to_string())
            .replace("@FLAGS@", flags);
        let node = json!({
            "command": ["bin/node", "serve", "{state}"],
            "listen": { "http": address },
            "ready": "notify",
            "health": { "listen": "http", "path": "/node/version" },
            "areas": { "values": {
                "schema": schema,
                "migrate": ["bin/node", "migrate", "{state}", "{from}", "{to}"],
            } },
        });
        repository.add(version, &[("bin/node*", &script)], json!({ "node": node }));
    }
    repository.publish(2);
    repository
}

/// The program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_countersign-updater"))
}
