//! The program itself, run in a directory of its own without a terminal.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use countersign_metadata::request::SigningRequest;

/// A directory with key files in it.
pub(crate) struct Desk {
    dir: tempfile::TempDir,
    environment: Vec<(&'static str, PathBuf)>,
}

/// How a run of the program ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// It failed with this exit code, one sentence that holds `part`, and a hint.
    pub(crate) fn failed(&self, code: i32, part: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        let told: Vec<_> = self.err.lines().filter(|l| l.starts_with("error: ")).collect();
        assert!(told.len() == 1 && told[0].contains(part), "{part}: {}", self.err);
        assert!(self.err.lines().any(|l| l.starts_with("hint: ")), "no hint: {}", self.err);
    }
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// Sets a variable for the programs that are run on the desk.
    pub(crate) fn set(&mut self, name: &'static str, value: &Path) {
        self.environment.push((name, value.to_owned()));
    }

    pub(crate) fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        self.environment.clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    pub(crate) fn put_request(&self, name: &str, request: &SigningRequest) {
        self.put(name, serde_json::to_vec(request).unwrap());
    }

    /// Puts a holder's key files down as `generate` does.
    pub(crate) fn put_key(&self, holder: &super::Holder) {
        let secret = self.put(&format!("{}.key", holder.name), holder.files.secret.as_bytes());
        mode(&secret, 0o600);
        self.put(&format!("{}.pub", holder.name), &holder.files.public);
    }

    /// `setsid` takes the terminal away that whoever runs the tests may have.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(env!("CARGO_BIN_EXE_countersign-keys"));
        command.args(words.split(' ')).current_dir(self.dir.path()).env_remove("COUNTERSIGN_KEY");
        command.env_remove("SSH_AUTH_SOCK").envs(self.environment());
        command
    }

    pub(crate) fn run(&self, words: &str) -> Ended {
        self.run_with(words, b"")
    }

    pub(crate) fn run_with(&self, words: &str, input: &[u8]) -> Ended {
        let mut command = self.command(words);
        run(&mut command, input)
    }
}

pub(crate) fn run(command: &mut Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{:?} cannot be run: {e}", command.get_program()));
    // A program that does not read its input may have ended already.
    let _unread = child.stdin.take().unwrap().write_all(input);
    Ended::of(&child.wait_with_output().unwrap())
}

pub(crate) fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
