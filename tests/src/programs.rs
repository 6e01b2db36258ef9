//! The programs under test: found beside the test, run as a person would run them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Where an updater of another build is, if the nodes are to run that one.
const UPDATER: &str = "COUNTERSIGN_UPDATER";

/// The path of one of the workspace's programs, built by the same `cargo test`.
pub fn path(name: &str) -> PathBuf {
    if let (Some(other), "countersign-updater") = (std::env::var_os(UPDATER), name) {
        return other.into();
    }
    let here = std::env::current_exe().expect("the test knows its own path");
    let directory = here.ancestors().find(|d| d.join(name).is_file());
    directory
        .unwrap_or_else(|| panic!("{name} is not built: run `cargo test --workspace`"))
        .join(name)
}

/// A program with its arguments, not yet started: one of ours, or one of the machine's.
pub fn command<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> Command {
    let ours =
        ["countersign-", "mortal-", "hostile-", "journey-"].iter().any(|p| name.starts_with(p));
    let mut command = Command::new(if ours { path(name) } else { name.into() });
    command.args(args);
    command
}

/// What a program printed, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// The exit code; -1 for a signal.
    pub exit: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Whether both streams together hold `text`.
    pub fn mentions(&self, text: &str) -> bool {
        self.out.contains(text) || self.err.contains(text)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a program to its end.
pub fn run<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> Said {
    let mut command = command(name, args);
    command.output().unwrap_or_else(|e| panic!("{name} cannot be started: {e}")).into()
}

/// Runs a program that must succeed.
pub fn must<A: AsRef<OsStr>>(name: &str, args: impl IntoIterator<Item = A>) -> Said {
    let args: Vec<_> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
    let said = run(name, &args);
    assert!(said.exit == 0, "{name} {args:?} ended with {}\n{}\n{}", said.exit, said.out, said.err);
    said
}
