//! The same attempts under our walls, bubblewrap's and none, as root and as a plain user, side by side.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::attempts::{self, Outcome};
use crate::walls::{Walls, World, make_set_uid};

/// The user that plays the plain one.
pub(crate) const NOBODY: u32 = 65534;

const WALLS: [Walls; 3] = [Walls::Ours, Walls::Bwrap, Walls::None];

/// Makes every attempt under all three as this user, and prints a line each: name, three outcomes, our sentence.
pub(crate) fn collect() {
    let world = World::new();
    for attempt in attempts::all() {
        let outcomes = WALLS.map(|walls| world.make(&attempt, walls));
        let said = outcomes.each_ref().map(short);
        let (Outcome::Blocked(why) | Outcome::Through(why) | Outcome::NotHere(why)) = &outcomes[0];
        println!("{}\t{}\t{}", attempt.name, said.join("\t"), why.replace(['\n', '\t'], " "));
    }
}

fn short(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Blocked(_) => "blocked",
        Outcome::Through(_) => "THROUGH",
        Outcome::NotHere(_) => "–",
    }
}

/// Prints the table. Fails when something got through ours, or nothing shows that an attempt can.
pub(crate) fn table() -> ExitCode {
    let root = read(&mut Command::new("/proc/self/exe"));
    let plain = as_plain_user(read);
    println!(
        "| attempt | ours, root | ours, plain | bwrap, root | bwrap, plain | bare, root | bare, plain | what ours says |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut through = [0; 6];
    let (mut unproven, mut group) = (Vec::new(), "");
    for attempt in attempts::all() {
        if group != attempt.group {
            group = attempt.group;
            println!("| **{group}** | | | | | | | |");
        }
        let (root, plain) = (&root[attempt.name], &plain[attempt.name]);
        let cells = [&root[0], &plain[0], &root[1], &plain[1], &root[2], &plain[2]];
        for (count, cell) in through.iter_mut().zip(cells) {
            *count += u32::from(cell == "THROUGH");
        }
        if root[2] != "THROUGH" {
            unproven.push(attempt.name);
        }
        println!("| {} | {} | {} |", attempt.name, cells.map(String::as_str).join(" | "), root[3]);
    }
    println!(
        "| **through, of {}** | {} | |",
        attempts::all().count(),
        through.map(|n| n.to_string()).join(" | ")
    );
    println!(
        "\nBlocked even for bare root, so nothing is shown by them on this machine: {}.",
        unproven.join(", ")
    );
    if through[0] + through[1] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

type Cells = BTreeMap<String, Vec<String>>;

fn read(command: &mut Command) -> Cells {
    let output = command.arg("collect").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().map(|line| line.split('\t').map(str::to_owned));
    lines.map(|mut words| (words.next().unwrap(), words.collect())).collect()
}

/// Starts this program as a plain user, from a place where that user can read it, and in a control group for memory that
/// is delegated to that user, where there can be one.
pub(crate) fn as_plain_user<T>(with: impl FnOnce(&mut Command) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    open(dir.path());
    let program = dir.path().join("escape-of-a-plain-user");
    fs::copy("/proc/self/exe", &program).unwrap();
    open(&program);
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    chown(&scratch, Some(NOBODY), Some(NOBODY)).unwrap();
    let set_uid = dir.path().join("set-uid");
    make_set_uid(&set_uid, 0);
    let group = Delegated::make();
    let procs = group.as_ref().map_or("/dev/null".into(), |group| group.0.join("cgroup.procs"));
    with(
        Command::new("sh")
            .args(["-c", "echo 0 > \"$1\"; shift; exec setpriv \"$@\"", "sh"])
            .arg(procs)
            .args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"])
            .args(["--".as_ref(), program.as_os_str()])
            .current_dir("/")
            .env("TMPDIR", &scratch)
            .env("ESCAPE_SET_UID", set_uid),
    )
}

/// A control group for memory that belongs to the plain user. Version 1: where version 2 has the controller, it takes more
/// than a directory to delegate it.
struct Delegated(PathBuf);

impl Delegated {
    fn make() -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path =
            own.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path))?;
        let parent = Path::new("/sys/fs/cgroup/memory").join(path.trim_start_matches('/'));
        let dir = parent.join(format!("escape-{}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let this = Self(dir);
        for path in [this.0.clone(), this.0.join("cgroup.procs")] {
            chown(path, Some(NOBODY), Some(NOBODY)).ok()?;
        }
        Some(this)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        _ = fs::remove_dir(&self.0);
    }
}
