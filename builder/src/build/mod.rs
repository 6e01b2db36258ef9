//! The hermetic run: a prepared build in a sandbox without a network, where everything that machines differ in is fixed.
//!
//! ```text
//! /usr /opt/rust /bin→usr/bin …   the environment, read-only
//! /build/src                      the source, laid out in sorted order in memory
//! /build/vendor, /build/pypi      locked crates and Python packages, read-only
//! /build/home, /tmp               empty
//! /countersign                    the source tar, the script, and `out` in memory; it leaves as a stream
//! ```

mod feasible;
mod handover;
mod limits;
mod locale;
mod provide;
mod reached;
mod script;
mod surroundings;
mod variation;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_sandbox::{Exit, Limits, Mount, Network, Sandbox};

use crate::inputs::vendor::{self, VendorError};
use crate::pack::{self, Cap, PackError, Packed, Plan, Strip, UnpackError};
use crate::prepare::{PrepareError, Prepared};
use crate::recipe::{LimitsSpec, RecipeSpec};
use crate::scratch::Scratch;
use handover::{Handed, Handover};
use script::{NO_OUTPUT, OURS, OUT};
use surroundings::Surroundings;

pub use feasible::{NotVaried, feasible};
pub use limits::Ceilings;
pub(crate) use provide::Provided;
pub use surroundings::Stillness;
pub(crate) use surroundings::search_path;
pub use variation::{Kind, NoVariation, Variation};

/// Most bytes of a build's log.
pub const MAX_LOG: u64 = 64 << 20;
/// Most files below the build directory.
const MAX_INODES: u64 = 2 << 20;
const MAX_OPEN_FILES: u64 = 8192;
/// How often it is looked whether a build has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What came out of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The artifact's digests.
    pub packed: Packed,
    /// How long the build took inside, in seconds.
    pub seconds: f64,
    /// What was varied.
    pub varied: Variation,
    /// What was to be varied and could not be.
    pub not_varied: Vec<NotVaried>,
    /// Commands that made a compiler ask for this machine's processor: the bytes depend on it.
    pub native: Vec<String>,
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
    /// What was prepared does not fit together.
    #[error(transparent)]
    Prepare(Box<PrepareError>),
    /// It came to a ceiling of this machine's, below what its recipe allows.
    #[error("the build came to this machine's ceiling of {0}, below what its recipe asks for")]
    Ceiling(String),
    /// A signal asked for an end.
    #[error("the build was interrupted")]
    Interrupted,
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
    /// It took more memory than allowed.
    #[error("it took more than {0} MiB of memory (build.limits.memory-mib)")]
    OutOfMemory(u64),
}

/// The steps of a recipe as a script for a container that [`crate::export`] has filled: with the variables of a
/// hermetic build, without its walls. Outputs are left below `/artifact`.
pub(crate) fn container_script(recipe: &RecipeSpec, has_rust: bool, provided: &Provided) -> String {
    let around =
        Surroundings::new(&recipe.build, has_rust, &Variation::none(), Stillness::AsWritten);
    let lines = provided.lines(around.base, around.base, recipe.build.source_date_epoch);
    script::container(recipe, &around, has_rust, &lines)
}

/// A build to be run.
#[derive(Debug)]
pub struct Job<'a> {
    /// What is built, with what.
    pub prepared: &'a Prepared,
    /// What is varied, as far as it can be.
    pub variation: &'a Variation,
    /// What is held still beyond what the recipe holds.
    pub stillness: Stillness,
    /// The artifact to write.
    pub artifact: &'a Path,
    /// The log to write.
    pub log: &'a Path,
    /// Where a failed build's tree is kept as a tar, if it is.
    pub keep: Option<&'a Path>,
    /// What a recipe may not go beyond.
    pub ceilings: Ceilings,
}

impl Job<'_> {
    /// Builds, and packs what came out. `now` is told what is being done.
    ///
    /// # Errors
    /// [`BuildError::DidNotBuild`] where the build itself failed; its log is in [`Job::log`]. The others are the
    /// machine's.
    pub fn run(&self, now: &dyn Fn(&str)) -> Result<Built, BuildError> {
        let failed = |source| BuildError::Io { path: PathBuf::from("a scratch directory"), source };
        let scratch = Scratch::of_machine().map_err(failed)?;
        let result = self.run_in(scratch.path(), now);
        // A build may leave directories that forbid their own removal.
        crate::files::remove_tree(scratch.path()).map_err(failed)?;
        result
    }

    fn run_in(&self, scratch: &Path, now: &dyn Fn(&str)) -> Result<Built, BuildError> {
        let recipe = self.prepared.recipe.spec();
        let failed = |source| BuildError::Io { path: PathBuf::from("a scratch directory"), source };
        now("laying inputs out");
        let provided = Provided::new(self.prepared, &directory(&scratch.join("provided"))?)?;
        let log = File::create(self.log)
            .map_err(|source| BuildError::Io { path: self.log.to_owned(), source })?;
        now(&format!("building {} {}", recipe.product, recipe.version));
        let limits = self.ceilings.lower(&recipe.build.limits);
        let too_large = || BuildError::DidNotBuild(DidNotBuild::TooLarge(limits.scratch_mib));
        let archive = scratch.join("outputs.tar");
        let (handover, output) =
            Handover::start(log, MAX_LOG, &archive, limits.scratch_mib << 20).map_err(failed)?;
        let (varied, not_varied) = feasible(self.prepared, self.variation);
        let around = Surroundings::new(
            &recipe.build,
            self.prepared.environment.has_rust(),
            &varied,
            self.stillness,
        );
        let places = provided.places(self.prepared.environment.has_rust());
        let disk = around.on_disk.then(|| scratch_on_disk(scratch, places)).transpose()?;
        let mounts = self.prepared.environment.mounts().map_err(|source| BuildError::Io {
            path: self.prepared.environment.root().to_owned(),
            source,
        })?;
        let sandbox = self.sandbox(around, mounts, &provided, disk.as_deref(), output)?;
        let mut running = sandbox.spawn()?;
        while running.has_exited().is_none() {
            std::thread::sleep(LOOK);
            if handover.is_over() {
                drop(running);
                return Err(self.unless_ceiling(too_large()));
            }
            if crate::interrupt::asked() {
                drop(running);
                return Err(BuildError::Interrupted);
            }
        }
        let ended = running.wait()?;
        let handed = handover.finish().map_err(failed)?;
        if handed.is_over {
            return Err(self.unless_ceiling(too_large()));
        }
        if let Some(error) = self.failure(ended.exit, &handed.last_step) {
            // A courtesy, so its failure is none.
            let _courtesy = reached::append(self.log, &ended.attempts);
            self.keep_tree(&handed);
            if ended.memory_kills > 0 {
                return Err(self.out_of_memory(&limits, error));
            }
            return Err(self.unless_ceiling(error.into()));
        }
        now("packing");
        let out = directory(&scratch.join("out"))?;
        unpack_outputs(&handed, &out, limits.scratch_mib)?;
        let epoch = recipe.build.source_date_epoch;
        pack::normalise(&out, &recipe.build.normalise, epoch)?;
        let plan = Plan::of_directory(&out)?;
        let packed = pack::write_artifact(&plan, epoch, self.artifact)?;
        let seconds = ended.usage.wall.as_secs_f64();
        Ok(Built { packed, seconds, varied, not_varied, native: ended.seen })
    }

    /// A build that ends at a ceiling of this machine has not shown that it cannot be built.
    fn unless_ceiling(&self, error: BuildError) -> BuildError {
        match &error {
            BuildError::DidNotBuild(reason) => {
                let limits = &self.prepared.recipe.spec().build.limits;
                self.ceilings.hit(reason, limits).map_or(error, BuildError::Ceiling)
            }
            _ => error,
        }
    }

    /// The kernel killed some of it at the limit on memory: the recipe's own, or a lower one of this machine's.
    fn out_of_memory(&self, limits: &LimitsSpec, error: DidNotBuild) -> BuildError {
        let asked = self.prepared.recipe.spec().build.limits.memory_mib;
        match limits.memory_mib {
            Some(mib) if asked == Some(mib) => DidNotBuild::OutOfMemory(mib).into(),
            Some(mib) => BuildError::Ceiling(format!("{mib} MiB of memory (--memory)")),
            None => error.into(),
        }
    }

    fn sandbox(
        &self,
        around: Surroundings,
        mounts: Vec<Mount>,
        provided: &Provided,
        disk: Option<&Path>,
        output: File,
    ) -> Result<Sandbox, BuildError> {
        let recipe = self.prepared.recipe.spec();
        let environment = &self.prepared.environment;
        let has_rust = environment.has_rust();
        let limits = self.ceilings.lower(&recipe.build.limits);
        let bytes = limits.scratch_mib << 20;
        let tmpfs = |to: &str| Mount::Tmpfs { to: to.into(), bytes, inodes: MAX_INODES };
        let lines = provided.lines(around.base, OURS, recipe.build.source_date_epoch);
        let keep = self.keep.is_some();
        let script = script::script(recipe, &around, has_rust, &lines, keep);
        let command = ["/bin/sh", "/countersign/run"].map(OsString::from);
        let mut sandbox = Sandbox::new(command.into());
        for mount in mounts {
            sandbox = sandbox.mount(mount);
        }
        sandbox = sandbox.mount(tmpfs("/tmp")).mount(match disk {
            Some(disk) => Mount::Writable { from: disk.to_owned(), to: around.base.into() },
            None => tmpfs(around.base),
        });
        if let Some(disk) = disk {
            sandbox = sandbox.keep_free(beside(disk, bytes)?);
        }
        if !around.home.starts_with(around.base) {
            sandbox = sandbox.mount(tmpfs("/elsewhere"));
        }
        for mount in provided.mounts(around.base, OURS, has_rust) {
            sandbox = sandbox.mount(mount);
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
            .mount(tmpfs(OUT));
        if around.locale {
            let home = environment.root().join(locale::HOME.trim_start_matches('/'));
            let text = |content: String| content.into_bytes();
            let description = text(locale::description());
            let map = text(locale::character_map());
            sandbox = sandbox
                .mount(Mount::ReadOnly { from: home, to: ours("locale") })
                .mount(Mount::File { to: ours("et_EE"), content: description })
                .mount(Mount::File { to: ours("UTF-8"), content: map })
                .mount(tmpfs(locale::HOME));
        }
        for (name, value) in around.environment {
            sandbox = sandbox.environment(name, value);
        }
        Ok(sandbox
            .work_dir(around.base)
            .identity(around.identity)
            .machine(around.machine)
            .network(Network::None)
            .attribute()
            .limits(Limits {
                memory: limits.memory_mib.map(|mib| mib << 20),
                processes: limits.processes,
                wall: Some(Duration::from_secs(limits.wall_seconds)),
                file_bytes: bytes,
                open_files: MAX_OPEN_FILES,
            })
            .output(output, u64::MAX))
    }

    /// What a bad end means.
    fn failure(&self, exit: Exit, step: &str) -> Option<DidNotBuild> {
        let recipe = self.prepared.recipe.spec();
        let limits = self.ceilings.lower(&recipe.build.limits);
        let how = match exit {
            Exit::Code(0) => return None,
            Exit::WallTime => return Some(DidNotBuild::TooLong(limits.wall_seconds)),
            Exit::Code(code) => format!("exit code {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
        };
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
        let number: usize =
            step.strip_prefix("step ").unwrap_or_default().parse().unwrap_or_default();
        let number = if number > recipe.build.steps.len() { 0 } else { number };
        let command = number.checked_sub(1).and_then(|n| recipe.build.steps.get(n));
        let command = command.map_or("laying the source out", String::as_str);
        let command = printable(&command.chars().take(120).collect::<String>());
        Some(DidNotBuild::Step { number, command, how })
    }

    /// Keeps a failed build's tree as the tar that the payload wrote, which nobody here has opened; a courtesy, so
    /// its failure is none.
    fn keep_tree(&self, handed: &Handed) {
        if let (Some(keep), Some(archive)) = (self.keep, handed.archive()) {
            let _courtesy = fs::remove_file(keep);
            let to = File::options().write(true).create_new(true).open(keep);
            let _courtesy = to.and_then(|mut to| io::copy(&mut File::open(archive)?, &mut to));
        }
    }
}

/// Lays the outputs out in `to`, every name in their archive checked.
fn unpack_outputs(handed: &Handed, to: &Path, scratch_mib: u64) -> Result<(), BuildError> {
    let refused = |path: String, what: String| {
        BuildError::from(PackError::Refused { path: printable(&path), what: printable(&what) })
    };
    let not_whole = || refused("the outputs".to_owned(), "they were not handed over whole".into());
    let archive = handed.archive().ok_or_else(not_whole)?;
    let file = crate::files::open_no_link(archive)
        .map_err(|source| BuildError::Io { path: archive.to_owned(), source })?;
    let cap = Cap::default();
    pack::unpack(io::BufReader::with_capacity(1 << 16, file), to, cap, Strip::Nothing).map_err(
        |error| match error {
            UnpackError::Refused { member, what } => refused(member, what),
            UnpackError::TooMuch(_) => DidNotBuild::TooLarge(scratch_mib).into(),
            // What the payload wrote is no tar, or half of one.
            UnpackError::Io { path, .. } if path == Path::new("the archive") => not_whole(),
            UnpackError::Io { path, source } => BuildError::Io { path, source },
        },
    )
}

/// A text of the recipe's or the payload's, for a reason that people read and sign.
fn printable(text: &str) -> String {
    countersign_console::printable(text).into_owned()
}

/// A build directory on the machine's disk, with the places in it that something is mounted on.
fn scratch_on_disk(
    scratch: &Path,
    places: impl Iterator<Item = &'static str>,
) -> Result<PathBuf, BuildError> {
    let disk = directory(&scratch.join("disk"))?;
    for place in places {
        directory(&disk.join(place))?;
    }
    Ok(disk)
}

/// What must stay free on the disk of `dir` for a payload to write `bytes` there.
fn beside(dir: &Path, bytes: u64) -> Result<u64, BuildError> {
    let disk = nix::sys::statvfs::statvfs(dir)
        .map_err(|error| BuildError::Io { path: dir.to_owned(), source: error.into() })?;
    let free = disk.blocks_available() as u64 * disk.fragment_size() as u64;
    Ok(free.saturating_sub(bytes))
}

fn directory(path: &Path) -> Result<PathBuf, BuildError> {
    let failed = |source| BuildError::Io { path: path.to_owned(), source };
    fs::create_dir(path).map_err(failed)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    Ok(path.to_owned())
}
