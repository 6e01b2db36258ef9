//! A project in a directory, and the real program run on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with a recipe. Removed when dropped.
pub(crate) struct Project {
    pub(crate) dir: tempfile::TempDir,
}

/// How a run ended, and what it said.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {} {}", self.out, self.err))
    }

    /// Panics with all that was said unless the run ended with this code.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\n{}\n{}", self.out, self.err);
        self
    }

    /// Panics unless this was said.
    #[track_caller]
    pub(crate) fn said(self, text: &str) -> Self {
        assert!(self.out.contains(text) || self.err.contains(text), "\n{}\n{}", self.out, self.err);
        self
    }
}

impl Project {
    /// A project with these files and build steps; its output `bin/thing` is `thing`.
    pub(crate) fn new(steps: &[&str], files: &[(&str, &str)]) -> Self {
        Self::with(steps, files, "")
    }

    /// The same with more in the recipe's `[build]`.
    pub(crate) fn with(steps: &[&str], files: &[(&str, &str)], build: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let steps: Vec<String> = steps.iter().map(|step| format!("'''{step}'''")).collect();
        let recipe = format!(
            "product = \"thing\"\nversion = \"1.0.0\"\n\n[source]\nkind = \"directory\"\n\n[environment]\n\
             kind = \"host\"\ntools = [\"c\"]\n\n[build]\nsteps = [{}]\n{build}\n\n[outputs]\n\
             \"bin/thing\" = \"thing\"\n",
            steps.join(", ")
        );
        fs::write(dir.path().join("countersign.toml"), recipe).unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self { dir }
    }

    /// What is packed instead of `thing`, at the top of the artifact.
    pub(crate) fn output(&self, name: &str) {
        let path = self.path("countersign.toml");
        let recipe = fs::read_to_string(&path).unwrap();
        let ours = format!("\"{name}\" = \"{name}\"");
        fs::write(&path, recipe.replace("\"bin/thing\" = \"thing\"", &ours)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn lock(&self) {
        self.run(&["lock", "."]).ended(0);
    }

    /// Locks and builds into `out`, which lies outside of the source.
    pub(crate) fn build(&self, out: &Path) -> Ran {
        self.lock();
        self.run(&["build", ".", "-o", out.to_str().unwrap(), "--json"])
    }

    /// Runs the program in the project's directory. All tests share a cache, so that the environment is gathered once.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run_in(self.dir.path(), arguments)
    }
}

pub(crate) fn run_in(dir: &Path, arguments: &[&str]) -> Ran {
    run_with(dir, arguments, &[])
}

/// Where all tests keep their cache.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")
}

/// A home with a `cache` and a `tmp` of its own, but for the machine's packages, which are gathered once for all tests.
pub(crate) fn own_home() -> tempfile::TempDir {
    static GATHERED: std::sync::Once = std::sync::Once::new();
    GATHERED.call_once(|| Project::new(&["true"], &[]).lock());
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("tmp")).unwrap();
    let ours = home.path().join("cache/countersign");
    fs::create_dir_all(&ours).unwrap();
    for name in ["environments", "host-digests"] {
        let from = cache().join("countersign").join(name);
        std::os::unix::fs::symlink(from, ours.join(name)).unwrap();
    }
    home
}

/// Runs the program with further variables.
pub(crate) fn run_with(dir: &Path, arguments: &[&str], more: &[(String, String)]) -> Ran {
    ran(Command::new(env!("CARGO_BIN_EXE_countersign-builder"))
        .args(arguments)
        .current_dir(dir)
        .env("XDG_CACHE_HOME", cache())
        .envs(more.iter().cloned()))
}

/// Runs the program where there is no network at all and no input in the cache.
pub(crate) fn run_cut_off(dir: &Path, arguments: &[&str]) -> Ran {
    let own = tempfile::tempdir().unwrap();
    let ours = own.path().join("countersign");
    fs::create_dir(&ours).unwrap();
    // Trees of this machine's own packages come from no registry.
    for name in ["environments", "host-digests"] {
        let from = cache().join("countersign").join(name);
        std::os::unix::fs::symlink(from, ours.join(name)).unwrap();
    }
    let program = env!("CARGO_BIN_EXE_countersign-builder");
    let mut command = match nix::unistd::geteuid().is_root() {
        true => {
            let mut command = Command::new("unshare");
            command.args(["-n", "--", program]);
            command
        }
        // A user's own namespace has too few ids for a sandbox inside it: the clients ask a closed port.
        false => {
            let mut command = Command::new(program);
            for name in ["http_proxy", "https_proxy", "npm_config_registry", "PIP_INDEX_URL"] {
                command.env(name, "http://127.0.0.1:9/");
            }
            command
        }
    };
    ran(command.args(arguments).current_dir(dir).env("XDG_CACHE_HOME", own.path()))
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// A C program that compiles to the same bytes anywhere.
pub(crate) const GOOD_C: &str =
    "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 0; }\n";
