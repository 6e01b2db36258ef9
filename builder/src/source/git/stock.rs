//! The stock git as a subprocess: no hooks, no configuration of the machine but how it reaches servers, no transport but the
//! four that carry objects, and an end to what it writes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::CommitId;
use crate::Inside;
use crate::pack::{Cap, Kind, Member, Tree, UnpackError};
use crate::source::SourceError;

/// Longest link target, in bytes.
const MAX_TARGET: u64 = 4096;
/// Longest file that may be a pointer to another.
const MAX_POINTER: u64 = 1024;
/// Longest file that git may write, in blocks of the shell's (half a KiB, or one).
const MAX_BLOCKS: &str = "8388608";
/// What of the machine's configuration says how it reaches servers.
const CLIENT: &str =
    r"^(url\..*\.insteadof|http\.(.*\.)?(proxy|sslcainfo|sslcapath)|safe\.directory)$";

/// The stock git in a fresh repository, walled off from what it would read and run.
pub(super) struct Git<'a> {
    dir: PathBuf,
    commit: &'a CommitId,
    client: BTreeMap<String, Vec<String>>,
    allow_file: bool,
}

impl<'a> Git<'a> {
    pub(super) fn new(
        scratch: &Path,
        commit: &'a CommitId,
        is_path: bool,
    ) -> Result<Self, SourceError> {
        let dir = scratch.join("repository");
        std::fs::create_dir(&dir).map_err(|e| SourceError::Io { path: dir.clone(), source: e })?;
        let mut this = Self { dir, commit, client: BTreeMap::new(), allow_file: is_path };
        for level in ["--system", "--global"] {
            let output = Command::new("git")
                .args(["config", level, "--includes", "--null", "--get-regexp", CLIENT])
                .output();
            let stdout = output.map(|o| o.stdout).unwrap_or_default();
            for entry in String::from_utf8_lossy(&stdout).split_terminator('\0') {
                if let Some((key, value)) = entry.split_once('\n') {
                    this.client.entry(key.to_owned()).or_default().push(value.to_owned());
                }
            }
        }
        // Who rewrites addresses may have a mirror on a disk.
        this.allow_file |= this.client.keys().any(|key| key.starts_with("url."));
        Ok(this)
    }

    pub(super) fn failed(&self, what: &str) -> SourceError {
        SourceError::NoCommit { commit: self.commit.to_string(), what: what.to_owned() }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        // A shell for its limit alone: a repository that never ends fills no disk.
        command.args(["-c", "ulimit -f \"$1\"; shift; exec git \"$@\"", "git", MAX_BLOCKS]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        let mut settings: Vec<(&str, &str)> = vec![
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.attributesFile", "/dev/null"),
            ("credential.helper", ""),
            ("fetch.fsckObjects", "true"),
            ("fetch.recurseSubmodules", "false"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("http.lowSpeedLimit", "1"),
            ("http.lowSpeedTime", "60"),
            ("protocol.allow", "never"),
        ];
        for scheme in ["https", "http", "ssh", "git"] {
            settings.push(match scheme {
                "https" => ("protocol.https.allow", "always"),
                "http" => ("protocol.http.allow", "always"),
                "ssh" => ("protocol.ssh.allow", "always"),
                _ => ("protocol.git.allow", "always"),
            });
        }
        if self.allow_file {
            settings.push(("protocol.file.allow", "always"));
        }
        let client = self.client.iter();
        let client = client.flat_map(|(key, all)| all.iter().map(move |v| (&**key, &**v)));
        let settings: Vec<_> = client.chain(settings).collect();
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=15")
            .env("LC_ALL", "C")
            .env("GIT_DIR", &self.dir)
            .current_dir(&self.dir);
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, SourceError> {
        let output = crate::client::output(self.command().args(arguments))
            .map_err(|e| self.failed(&format!("git cannot be run: {e}")))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = crate::inputs::debian::last_lines(&output.stderr);
        Err(self.failed(&said))
    }

    /// The one commit where the server gives it, else what its branches and tags lead to.
    pub(super) fn fetch(&self, from: &OsString) -> Result<(), SourceError> {
        let fetch = |depth: &[&str], what: &[&str]| {
            let mut command = self.command();
            command.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"]);
            command.args(depth).arg("--").arg(from).args(what);
            let output = crate::client::output(&mut command)
                .map_err(|e| self.failed(&format!("git cannot be run: {e}")))?;
            match output.status.success() {
                true => Ok(()),
                false => Err(self.failed(&crate::inputs::debian::last_lines(&output.stderr))),
            }
        };
        fetch(&["--depth=1"], &[self.commit.as_str()])
            .or_else(|_| fetch(&[], &["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]))
    }

    /// Writes the tree's files as git keeps them: no filter and no attribute of the repository has a say.
    pub(super) fn lay_out(&self, to: &Path) -> Result<(), SourceError> {
        let listed = self.run(&["ls-tree", "-r", "-z", "--full-tree", self.commit.as_str()])?;
        let refused = |path: &str, what: String| SourceError::Unpack {
            name: self.commit.input_name(),
            source: UnpackError::Refused { member: path.chars().take(120).collect(), what },
        };
        let unpack = |source| SourceError::Unpack { name: self.commit.input_name(), source };
        let mut objects = Objects::open(self)?;
        let mut tree = Tree::new(to);
        let mut cap = Cap::default();
        for entry in listed.split(|b| *b == 0).filter(|entry| !entry.is_empty()) {
            let entry = std::str::from_utf8(entry)
                .map_err(|_| refused("a name", "it is not UTF-8".to_owned()))?;
            let Some((about, path)) = entry.split_once('\t') else { continue };
            let mut words = about.split(' ');
            let (mode, id) = (words.next().unwrap_or_default(), words.nth(1).unwrap_or_default());
            let inside: Inside = path.parse().map_err(|e| refused(path, format!("{e}")))?;
            let told = |what: &str| refused(path, what.to_owned());
            if mode == "160000" {
                return Err(told("it is a submodule, which this version does not fetch"));
            }
            let length = objects.ask(id).map_err(|e| self.failed(&e.to_string()))?;
            cap.members = cap.members.checked_sub(1).ok_or_else(|| told("there are too many"))?;
            cap.bytes = cap.bytes.checked_sub(length).ok_or_else(|| told("it is too much"))?;
            let kind = match mode {
                "120000" if length <= MAX_TARGET => {
                    let target = objects.small(length).map_err(|e| self.failed(&e.to_string()))?;
                    let target =
                        String::from_utf8(target).map_err(|_| told("its target is not UTF-8"))?;
                    if !inside.link_stays(&target) {
                        return Err(told("its target leaves the tree"));
                    }
                    Kind::Symlink(target)
                }
                "100644" | "100755" => Kind::File,
                _ => return Err(told("it is no file, or a link with a long target")),
            };
            let is_file = kind == Kind::File;
            let executable = mode == "100755";
            let mode = if executable { 0o755 } else { 0o644 };
            let member = Member { path: inside, kind, mode, length };
            if is_file && length <= MAX_POINTER {
                let bytes = objects.small(length).map_err(|e| self.failed(&e.to_string()))?;
                if is_pointer(&bytes) {
                    return Err(told("it is a pointer of git-lfs, and its file is elsewhere"));
                }
                tree.add(&member, &mut &bytes[..]).map_err(unpack)?;
            } else if is_file {
                let mut body = (&mut objects.from).take(length);
                tree.add(&member, &mut body).map_err(unpack)?;
                objects.end().map_err(|e| self.failed(&e.to_string()))?;
            } else {
                tree.add(&member, &mut io::empty()).map_err(unpack)?;
            }
        }
        tree.finish().map_err(unpack)
    }
}

fn is_pointer(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.starts_with("version https://")
        && text.contains("\noid sha256:")
        && text.contains("\nsize ")
}

/// `git cat-file --batch`.
struct Objects {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Objects {
    fn open(git: &Git<'_>) -> Result<Self, SourceError> {
        let failed = |e: io::Error| git.failed(&format!("git cannot be run: {e}"));
        let mut child = git
            .command()
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let to = child.stdin.take();
        let from = child.stdout.take().ok_or_else(|| failed(io::Error::other("no output")))?;
        Ok(Self { child, to, from: BufReader::new(from) })
    }

    /// Asks for an object; its length. Its bytes and a newline follow.
    fn ask(&mut self, id: &str) -> io::Result<u64> {
        let to = self.to.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(to, "{id}")?;
        to.flush()?;
        let mut line = String::new();
        (&mut self.from).take(256).read_line(&mut line)?;
        let length = line.trim_end().rsplit(' ').next().and_then(|word| word.parse().ok());
        length.ok_or_else(|| io::Error::other(format!("git has no object {id}")))
    }

    fn small(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut bytes)?;
        self.end()?;
        Ok(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.from.read_exact(&mut [0])
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.to = None;
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}
