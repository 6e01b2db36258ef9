//! Databases that are written all the while, copied on ext4, XFS and btrfs: every copy must be whole, and the control,
//! a copy without a freeze, must not always be. `COPIES=100` makes a long run of it and prints the table.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use countersign_metadata::Sha256;
use countersign_metadata::node::NodeSpec;
use countersign_updater::Home;
use countersign_updater::generation::{Generation, Launch, switch_to};
use countersign_updater::state::{Rung, Secrets, data_dir, shadow_copy, snapshot};
use countersign_updater::supervise::{Client, Phase};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use disk::Disk;

const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-updater");
/// A control that was never corrupt in so many tries proves nothing about the copies.
const CONTROLS: usize = 1000;

/// Longest wait for a writer to be ready. It ends a test that would hang.
const CAP: Duration = Duration::from_secs(120);

#[expect(clippy::disallowed_methods, reason = "between two looks at a condition with a deadline")]
fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + CAP;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not happen within {CAP:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One kind of store: how it is written, and how a copy is checked.
#[derive(Clone, Copy)]
struct Store(&'static str);

impl Store {
    fn words(self, verb: &str) -> Vec<String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        if self.0 == "redb" {
            let writer = Path::new(PROGRAM).with_file_name("examples").join("redb_writer");
            assert!(writer.is_file(), "build it: cargo build -p countersign-updater --examples");
            return vec![writer.display().to_string(), verb.to_owned()];
        }
        let python = std::env::var_os("TUF_PYTHON").map_or("python3".into(), PathBuf::from);
        let script = here.join("tests/databases/writer.py");
        vec![
            python.display().to_string(),
            script.display().to_string(),
            self.0.to_owned(),
            verb.to_owned(),
        ]
    }

    /// Whether a copy can be opened and is of one moment. A store that crashes over it says no.
    fn is_whole(self, copy: &Path) -> bool {
        let words = self.words("check");
        Command::new(&words[0])
            .args(&words[1..])
            .arg(copy)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }
}

/// A node that is nothing but a store and its writer.
struct Node {
    home: Home,
    generation: Generation,
    supervisor: Child,
}

impl Node {
    fn new(disk: &Disk, store: Store) -> Self {
        let home = Home::create(&disk.path().join(store.0)).unwrap();
        home.finish("product = \"p\"\nrepositories = [\"file:///nowhere\"]\n").unwrap();
        data_dir::make(&home.state(1)).unwrap();
        let binary = Sha256::of(store.0.as_bytes());
        let program = home.stored(&binary).join("tree/bin/node");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        let script = format!("#!/bin/sh\nexec {} \"$1\"\n", store.words("write").join(" "));
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let spec: NodeSpec =
            serde_json::from_value(serde_json::json!({ "command": ["bin/node", "{state}"] }))
                .unwrap();
        let generation = Generation {
            number: 1,
            product: "p".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            binary,
            state: 1,
            areas: BTreeMap::new(),
            held: BTreeMap::new(),
            protocol: None,
            launch: Launch::new(&spec, &BTreeMap::new()),
        };
        generation.write(&home).unwrap();
        switch_to(&home, 1).unwrap();
        let supervisor = Command::new(PROGRAM)
            .arg("supervise")
            .arg(home.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = Client::new(&home);
        until(|| client.status().is_ok_and(|status| status.phase == Phase::Ready));
        Self { home, generation, supervisor }
    }

    fn copy(&self) -> shadow_copy::Made {
        let limit = Duration::from_secs(60);
        let client = Client::new(&self.home);
        shadow_copy::make(&self.home, &self.generation, &client, &Secrets::none(), 0, limit)
            .unwrap()
    }
}

impl Node {
    fn stop(&mut self) {
        if self.supervisor.try_wait().unwrap().is_none() {
            kill(Pid::from_raw(self.supervisor.id().cast_signed()), Signal::SIGTERM).unwrap();
            self.supervisor.wait().unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies one store on one file system. A line of the table.
fn tried(disk: &Disk, store: Store, copies: usize, long: bool) -> String {
    let mut node = Node::new(disk, store);
    let place = shadow_copy::place(&node.home);
    let (mut corrupt, mut frozen, mut rungs) = (0, Vec::new(), Vec::new());
    for _ in 0..copies {
        let made = node.copy();
        frozen.extend(made.frozen);
        rungs.push(made.by);
        corrupt += usize::from(!store.is_whole(&place));
    }
    assert_eq!(corrupt, 0, "{} on {}: {corrupt} of {copies} copies", store.0, disk.kind);
    let wanted = match disk.kind {
        "btrfs" => Rung::Subvolume,
        "xfs" => Rung::Reflink,
        "ext4" => Rung::Passes,
        _ => rungs[0],
    };
    assert!(rungs.iter().all(|rung| *rung == wanted), "{rungs:?} on {}", disk.kind);
    let (mut controls, mut broken) = (0, 0);
    while controls < CONTROLS && (broken == 0 || (long && controls < copies)) {
        let control = node.home.shadow().join("control");
        disk::remove(&control);
        disk::copy_unfrozen(&node.home.state(1), &control);
        controls += 1;
        broken += usize::from(!store.is_whole(&control));
    }
    assert!(broken > 0, "{} on {}: no control of {controls} was corrupt", store.0, disk.kind);
    node.stop();
    snapshot::complete(&node.home, 1, 1, 0, None, None).unwrap();
    let restored = node.home.state(snapshot::restore(&node.home, 1, 0).unwrap());
    assert!(store.is_whole(&restored), "{} on {}: what was restored", store.0, disk.kind);
    if disk.kind == "btrfs" {
        let dir = fs::File::open(&restored).unwrap();
        assert!(
            countersign_sandbox::subvolume::is_one(&dir).unwrap(),
            "the next copy is quick too"
        );
    }
    frozen.sort_unstable();
    let (median, longest) = (frozen[frozen.len() / 2], frozen[frozen.len() - 1]);
    format!(
        "| {} | {} | {wanted:?} | {corrupt} of {copies} | {broken} of {controls} | {} ms | {} ms |",
        disk.kind,
        store.0,
        median.as_millis(),
        longest.as_millis()
    )
}

#[test]
fn no_copy_of_a_store_that_is_being_written_is_corrupt_and_copies_without_a_freeze_are() {
    let copies = std::env::var("COPIES").ok().map_or(5, |text| text.parse().unwrap());
    let lines = std::thread::scope(|scope| {
        let disks = ["ext4", "xfs", "btrfs"].map(|kind| {
            scope.spawn(move || {
                let disk = Disk::new(kind);
                let stores = ["sqlite", "lmdb", "redb"].map(Store);
                stores.map(|store| tried(&disk, store, copies, copies > 5)).join("\n")
            })
        });
        disks.map(|disk| disk.join().unwrap())
    });
    println!(
        "| file system | store | rung | corrupt | corrupt without a freeze | frozen, median | longest |"
    );
    println!("|---|---|---|---|---|---|---|\n{}", lines.join("\n"));
}

#[test]
fn a_subvolume_inside_the_data_is_copied_although_no_snapshot_holds_it() {
    let disk = Disk::new("btrfs");
    if disk.kind != "btrfs" {
        return;
    }
    let node = Node::new(&disk, Store("sqlite"));
    let place = shadow_copy::place(&node.home);
    assert_eq!(node.copy().by, Rung::Subvolume);
    let data = fs::File::open(node.home.state(1)).unwrap();
    countersign_sandbox::subvolume::create(&data, "inner").unwrap();
    fs::write(node.home.state(1).join("inner/file"), "precious").unwrap();
    assert_eq!(node.copy().by, Rung::Reflink);
    assert_eq!(fs::read(place.join("inner/file")).unwrap(), b"precious");
    assert!(Store("sqlite").is_whole(&place));
}
