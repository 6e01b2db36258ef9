//! The hermetic run: a prepared build in a sandbox without a network, where everything that machines differ in is fixed.
//!
//! ```text
//! /usr /opt/rust /bin→usr/bin …   the environment, read-only
//! /build/src                      the source, laid out in sorted order in memory
//! /build/vendor                   locked crates, read-only
//! /build/home, /tmp               empty
//! /countersign                    the source tar, the script, and `out`, where outputs are handed over
//! ```

mod script;
mod variation;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_sandbox::{Clock, Exit, Limits, Mount, Network, Sandbox};

use crate::inputs::vendor::{self, VendorError};
use crate::pack::{self, PackError, Packed, Plan};
use crate::prepare::Prepared;
use crate::recipe::RecipeSpec;
use script::{NO_OUTPUT, OURS, OUT};
use variation::Surroundings;

pub use variation::{Kind, NoVariation, Variation};

/// Most bytes of a build's log.
pub const MAX_LOG: u64 = 64 << 20;
/// Most files below the build directory.
const MAX_INODES: u64 = 2 << 20;
const MAX_OPEN_FILES: u64 = 8192;
/// How often the size of the handed over outputs is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What came out of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The artifact's digests.
    pub packed: Packed,
    /// How long the build took inside, in seconds.
    pub seconds: f64,
}

/// Why nothing came out.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The build itself failed: the same would happen again.
    #[error(transparent)]
    DidNotBuild(#[from] DidNotBuild),
    /// What was built has no canonical form.
    #[error("the outputs cannot be packed")]
    Pack(#[from] PackError),
    /// The locked crates cannot be provided.
    #[error(transparent)]
    Vendor(#[from] VendorError),
    /// The sandbox could not be made, or was lost.
    #[error(transparent)]
    Sandbox(#[from] countersign_sandbox::Error),
    /// Something cannot be read or written.
    #[error("cannot build: {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A build that ran and failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DidNotBuild {
    /// A step.
    #[error("step {number} ({command}) failed with {how}")]
    Step {
        /// Counted from 1; 0 for the laying out of the source.
        number: usize,
        /// The command, shortened.
        command: String,
        /// Exit code or signal.
        how: String,
    },
    /// The steps did not make an output.
    #[error("no step made the output {0}")]
    NoOutput(String),
    /// It ran longer than allowed.
    #[error("it ran longer than {0} seconds (build.limits.wall-seconds)")]
    TooLong(u64),
    /// It wrote more than allowed.
    #[error("it wrote more than {0} MiB (build.limits.scratch-mib)")]
    TooLarge(u64),
}

/// The steps of a recipe as a script for a container that [`crate::export`] has filled: with the variables of a
/// hermetic build, without its walls. Outputs are left below `/artifact`.
pub(crate) fn container_script(recipe: &RecipeSpec, has_rust: bool) -> String {
    let around = Surroundings::new(&recipe.build, has_rust, &Variation::none());
    script::container(recipe, &around, has_rust)
}

/// A build to be run.
#[derive(Debug)]
pub struct Job<'a> {
    /// What is built, with what.
    pub prepared: &'a Prepared,
    /// What is varied.
    pub variation: &'a Variation,
    /// What the clock says at the build's start, in seconds since 1970, whatever the recipe says.
    pub clock_at: Option<i64>,
    /// The artifact to write.
    pub artifact: &'a Path,
    /// The log to write.
    pub log: &'a Path,
    /// Where a failed build's tree is kept, if it is.
    pub keep: Option<&'a Path>,
}

impl Job<'_> {
    /// Builds, and packs what came out. `now` is told what is being done.
    ///
    /// # Errors
    /// [`BuildError::DidNotBuild`] where the build itself failed; its log is in [`Job::log`]. The others are the
    /// machine's.
    pub fn run(&self, now: &dyn Fn(&str)) -> Result<Built, BuildError> {
        let failed = |source| BuildError::Io { path: PathBuf::from("a scratch directory"), source };
        let scratch = tempfile::Builder::new()
            .prefix("countersign-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .map_err(failed)?;
        let result = self.run_in(scratch.path(), now);
        // A build may leave directories that forbid their own removal.
        crate::files::remove_tree(scratch.path()).map_err(failed)?;
        result
    }

    fn run_in(&self, scratch: &Path, now: &dyn Fn(&str)) -> Result<Built, BuildError> {
        let recipe = self.prepared.recipe.spec();
        let out = directory(&scratch.join("out"))?;
        let crates = self.prepared.crates();
        let vendor = directory(&scratch.join("vendor"))?;
        if !crates.is_empty() {
            now("unpacking crates");
            vendor::unpack(&crates, &vendor)?;
        }
        let log = File::create(self.log)
            .map_err(|source| BuildError::Io { path: self.log.to_owned(), source })?;
        now(&format!("building {} {}", recipe.product, recipe.version));
        let sandbox = self.sandbox(&out, &vendor, log);
        let mut running = sandbox.spawn()?;
        let scratch_bytes = recipe.build.limits.scratch_mib << 20;
        while running.has_exited().is_none() {
            if size_of(&out, scratch_bytes) > scratch_bytes {
                drop(running);
                return Err(DidNotBuild::TooLarge(recipe.build.limits.scratch_mib).into());
            }
            std::thread::sleep(LOOK);
        }
        let ended = running.wait()?;
        if let Some(error) = self.failure(ended.exit, &out) {
            self.keep_tree(&out);
            return Err(error.into());
        }
        now("packing");
        let members = recipe
            .outputs
            .keys()
            .enumerate()
            .map(|(number, path)| (path.clone(), out.join(number.to_string())));
        let plan = Plan::new(members)?;
        let packed = pack::write_artifact(&plan, recipe.build.source_date_epoch, self.artifact)?;
        Ok(Built { packed, seconds: ended.usage.wall.as_secs_f64() })
    }

    fn sandbox(&self, out: &Path, vendor: &Path, log: File) -> Sandbox {
        let recipe = self.prepared.recipe.spec();
        let environment = &self.prepared.environment;
        let has_rust = environment.has_rust();
        let mut around = Surroundings::new(&recipe.build, has_rust, self.variation);
        if let Some(seconds) = self.clock_at {
            around.machine.clock = Clock::Held(seconds);
        }
        let bytes = recipe.build.limits.scratch_mib << 20;
        let tmpfs = |to: &str| Mount::Tmpfs { to: to.into(), bytes, inodes: MAX_INODES };
        let script =
            script::script(recipe, around.base, around.umask, has_rust, self.keep.is_some());
        let command = ["/bin/sh", "/countersign/run"].map(OsString::from);
        let mut sandbox = Sandbox::new(command.into());
        for mount in environment.mounts() {
            sandbox = sandbox.mount(mount);
        }
        sandbox = sandbox.mount(tmpfs("/tmp")).mount(tmpfs(around.base));
        if !around.home.starts_with(around.base) {
            sandbox = sandbox.mount(tmpfs("/elsewhere"));
        }
        if has_rust {
            let to = format!("{}/vendor", around.base).into();
            sandbox = sandbox.mount(Mount::ReadOnly { from: vendor.to_owned(), to });
        }
        let ours = |name: &str| PathBuf::from(format!("{OURS}/{name}"));
        let cargo_config = vendor::cargo_config(around.base).into_bytes();
        sandbox = sandbox
            .mount(Mount::ReadOnly {
                from: self.prepared.source.path.clone(),
                to: ours("source.tar"),
            })
            .mount(Mount::File { to: ours("run"), content: script.into_bytes() })
            .mount(Mount::File { to: ours("cargo.toml"), content: cargo_config })
            .mount(Mount::Writable { from: out.to_owned(), to: OUT.into() });
        for (name, value) in around.environment {
            sandbox = sandbox.environment(name, value);
        }
        let limits = &recipe.build.limits;
        sandbox
            .work_dir(around.base)
            .identity(around.identity)
            .machine(around.machine)
            .network(Network::None)
            .limits(Limits {
                memory: limits.memory_mib.map(|mib| mib << 20),
                processes: limits.processes,
                wall: Some(Duration::from_secs(limits.wall_seconds)),
                file_bytes: bytes,
                open_files: MAX_OPEN_FILES,
            })
            .output(log, MAX_LOG)
    }

    /// What a bad end means.
    fn failure(&self, exit: Exit, out: &Path) -> Option<DidNotBuild> {
        let recipe = self.prepared.recipe.spec();
        let how = match exit {
            Exit::Code(0) => return None,
            Exit::WallTime => return Some(DidNotBuild::TooLong(recipe.build.limits.wall_seconds)),
            Exit::Code(code) => format!("exit code {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
        };
        let step = crate::files::read_limited(&out.join("step"), 64).unwrap_or_default();
        let step = String::from_utf8_lossy(&step).trim().to_owned();
        if let Some(number) = step.strip_prefix("output ") {
            let number: usize = number.parse().unwrap_or_default();
            let output = recipe.outputs.iter().nth(number);
            let (path, from) = output.map(|(p, f)| (p.as_str(), f.as_str())).unwrap_or_default();
            if exit == Exit::Code(NO_OUTPUT) {
                return Some(DidNotBuild::NoOutput(format!("{path:?} (from {from:?})")));
            }
            let command = format!("handing over {path:?}");
            return Some(DidNotBuild::Step { number: recipe.build.steps.len() + 1, command, how });
        }
        let number: usize = step.parse().unwrap_or_default();
        let command = number.checked_sub(1).and_then(|n| recipe.build.steps.get(n));
        let command = command.map_or("laying the source out", String::as_str);
        let command = command.chars().take(120).collect();
        Some(DidNotBuild::Step { number, command, how })
    }

    /// Moves a failed build's tree to where it was asked for; a courtesy, so its failure is none.
    fn keep_tree(&self, out: &Path) {
        if let Some(keep) = self.keep {
            let kept = out.join("kept");
            let _courtesy = fs::rename(&kept, keep).or_else(|_| {
                let copied =
                    std::process::Command::new("cp").arg("-a").arg(&kept).arg(keep).status();
                copied.map(|_| ())
            });
        }
    }
}

fn directory(path: &Path) -> Result<PathBuf, BuildError> {
    let failed = |source| BuildError::Io { path: path.to_owned(), source };
    fs::create_dir(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    Ok(path.to_owned())
}

/// Bytes of the files below a directory that is being written; counting ends beyond `enough`.
fn size_of(dir: &Path, enough: u64) -> u64 {
    let mut sum = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                left.push(entry.path());
            } else {
                sum += meta.len();
            }
            if sum > enough {
                return sum;
            }
        }
    }
    sum
}
