//! Errors of the library, told to a person: exit code, sentence, hint.

use countersign_builder::build::{BuildError, MAX_LOG};
use countersign_builder::check::CheckError;
use countersign_builder::compare::CompareError;
use countersign_builder::environment::EnvironmentError;
use countersign_builder::export::ExportError;
use countersign_builder::files::read_limited_no_link;
use countersign_builder::http::RepositoryError;
use countersign_builder::inputs::InputError;
use countersign_builder::lock::LockError;
use countersign_builder::pack::{PackError, UnpackError};
use countersign_builder::prepare::PrepareError;
use countersign_builder::rebuild::RebuildError;
use countersign_builder::recipe::RecipeError;
use countersign_builder::signer::SignerError;
use countersign_builder::source::SourceError;
use countersign_console::{AskError, Exit, Failure};
use countersign_metadata::trust::TrustError;

const LOCK: &str = "run `countersign-builder lock` in the directory of the recipe, look at what \
                    changed, and commit countersign.lock";
const UNREACHABLE: &str = "is the address right, and the server up? Trying again can help";

/// What `--root` takes.
pub(super) const ROOT: &str = "--root takes the root file of the repository that you trust, as you got it from its \
                               keyholders (1.root.json, or root.json of a node)";
/// What `--identity-file` takes.
pub(super) const IDENTITY: &str = "--identity-file takes the public half of a key (KEY.pub, as `countersign-keys` \
                                   writes it)";

/// `not_done` says what did not happen.
pub(super) fn prepare(not_done: &str, error: PrepareError) -> Failure {
    let told = |exit| Failure::caused(exit, not_done, &error);
    match &error {
        PrepareError::Recipe(RecipeError::Missing(_)) => told(Exit::Input).hint(
            "`countersign-builder init` writes a first one there; or name the directory that holds one",
        ),
        PrepareError::Recipe(_) => told(Exit::Input),
        PrepareError::Lock(LockError::Missing(_) | LockError::Stale { .. }) => {
            told(Exit::Input).hint(LOCK)
        }
        PrepareError::Lock(LockError::Malformed { .. }) => told(Exit::Input).hint(LOCK),
        PrepareError::Lock(LockError::Io { .. }) => told(Exit::Host),
        PrepareError::Environment(cause) => environment(cause, told),
        PrepareError::Input(cause) => input(cause, told),
        PrepareError::Source(SourceError::NoCommit { .. }) => told(Exit::Network).hint(
            "does `git ls-remote` reach it from here, and is the commit on one of its branches or tags?",
        ),
        PrepareError::Source(SourceError::Commit { .. }) => told(Exit::Untrusted),
        PrepareError::Source(SourceError::Input(cause)) => input(cause, told),
        PrepareError::Source(SourceError::Unpack { source: UnpackError::Refused { what, .. }, .. })
            if what.contains("at the top") =>
        {
            told(Exit::Input).hint("strip = false in [source] takes an archive as it is")
        }
        PrepareError::Source(_) => told(Exit::Input),
    }
}

pub(super) fn export(error: &ExportError) -> Failure {
    let told = |exit| Failure::caused(exit, "nothing was exported", error);
    match error {
        ExportError::Exists(_) => told(Exit::Input).hint("name another directory with --output"),
        ExportError::WholeMachine => told(Exit::Host).hint("export on a machine with dpkg"),
        ExportError::Source(_) | ExportError::Image(_) => told(Exit::Input),
        ExportError::Inputs(_) => told(Exit::Untrusted),
        ExportError::Io { .. } => told(Exit::Host).hint("is there space, and may you write there?"),
    }
}

fn environment(cause: &EnvironmentError, told: impl Fn(Exit) -> Failure) -> Failure {
    match cause {
        EnvironmentError::NoPackages(names) => {
            told(Exit::Host).hint(format!("apt-get install {}", names.join(" ")))
        }
        EnvironmentError::NoRust(_) => {
            told(Exit::Host).hint("install Rust (rustup, or apt-get install rustc cargo)")
        }
        EnvironmentError::NoDpkg(_) => {
            told(Exit::Host).hint("leave [environment] packages out: all of /usr is taken here")
        }
        EnvironmentError::Changed => told(Exit::Busy),
        EnvironmentError::NoApt => {
            told(Exit::Host).hint("lock on a machine with apt; building needs none where the inputs are at hand (--inputs)")
        }
        EnvironmentError::Unresolved(_) => told(Exit::Input).hint(
            "are the names those of Debian packages, and are Debian's suites in this machine's apt sources?",
        ),
        EnvironmentError::Input(cause) => input(cause, told),
        EnvironmentError::Unpack { .. }
        | EnvironmentError::OtherPackage { .. }
        | EnvironmentError::Tree(_)
        | EnvironmentError::Image { .. } => told(Exit::Untrusted),
        EnvironmentError::Program { .. } | EnvironmentError::Io { .. } => told(Exit::Host),
    }
}

fn input(cause: &InputError, told: impl Fn(Exit) -> Failure) -> Failure {
    match cause {
        InputError::Missing { .. } => told(Exit::Input)
            .hint("give the directory that holds it with --inputs (a release's inputs/)"),
        InputError::Wrong { .. } => told(Exit::Untrusted),
        InputError::Unsupported { .. } => told(Exit::Input),
        InputError::Fetch { .. } => told(Exit::Network).hint(UNREACHABLE),
        InputError::Client { .. } => told(Exit::Network)
            .hint("where inputs come from is that program's own configuration; try it by itself"),
        InputError::Io { .. } => told(Exit::Host),
    }
}

/// `log` is where the build's output went.
pub(super) fn build(error: BuildError, log: &std::path::Path) -> Failure {
    match &error {
        BuildError::DidNotBuild(_) => {
            let tail = tail(log);
            let failure = Failure::new(Exit::Input, format!("the build failed: {error}{tail}"));
            failure.hint(format!("the whole log is {}", log.display()))
        }
        BuildError::Sandbox(cause) => sandbox(cause),
        BuildError::Pack(PackError::Refused { .. }) => {
            Failure::caused(Exit::Input, "the build made what no artifact may hold", &error)
        }
        BuildError::Pack(_) | BuildError::Io { .. } => {
            Failure::caused(Exit::Host, "the build could not be run", &error)
        }
        BuildError::Ceiling(_) => Failure::caused(Exit::Host, "the build was stopped", &error)
            .hint("allow more with --memory, --scratch or --wall, if the recipe is to be trusted with it"),
        BuildError::Interrupted => Failure::new(Exit::Busy, &error),
        BuildError::Prepare(_) => Failure::caused(Exit::Untrusted, "the build could not begin", &error),
        BuildError::Vendor(_) => Failure::caused(Exit::Input, "the build could not begin", &error),
    }
}

fn sandbox(cause: &countersign_sandbox::Error) -> Failure {
    let failure = Failure::caused(Exit::Host, "nothing was built", cause);
    match cause {
        countersign_sandbox::Error::Missing { .. } => failure.hint(
            "there is no weaker mode; `countersign-updater doctor` lists what this machine can do",
        ),
        countersign_sandbox::Error::Description { .. } => failure.hint(
            "a machine with fewer CPUs than the recipe's build.cpus (2 unless it says) cannot \
             build it; cpus = 1 builds anywhere",
        ),
        _ => failure,
    }
}

/// The last lines of a log.
fn tail(log: &std::path::Path) -> String {
    let Ok(bytes) = read_limited_no_link(log, MAX_LOG) else { return String::new() };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(12)..];
    shown
        .iter()
        .map(|line| format!("\n    {}", line.chars().take(300).collect::<String>()))
        .collect()
}

pub(super) fn check(error: CheckError, dir: &std::path::Path) -> Failure {
    match error {
        CheckError::Build { name, source } => build(source, &dir.join(format!("{name}.log"))),
        CheckError::Compare(error) => compare(&error),
    }
}

pub(super) fn compare(error: &CompareError) -> Failure {
    Failure::caused(Exit::Input, "cannot compare", error)
        .hint("compare takes two artifacts: .tar.zst, .tar.gz or .tar files")
}

pub(super) fn rebuild(error: RebuildError, log: &std::path::Path) -> Failure {
    let told = |exit| Failure::caused(exit, "no verdict", &error);
    match &error {
        RebuildError::NoRelease { .. } => told(Exit::Input).hint(
            "--release takes a builder's output directory or a draft of countersign-metadata",
        ),
        RebuildError::Repository(RepositoryError::Fetch { .. }) => {
            told(Exit::Network).hint(UNREACHABLE)
        }
        RebuildError::Repository(RepositoryError::Address(_)) => told(Exit::Usage),
        RebuildError::Repository(_) => told(Exit::Untrusted),
        RebuildError::Trust(cause) if cause.retry() => told(Exit::Network).hint(UNREACHABLE),
        RebuildError::Trust(TrustError::UnknownProduct(_)) => told(Exit::Input),
        RebuildError::Trust(_) => told(Exit::Untrusted),
        RebuildError::NotThere { .. } => told(Exit::Input),
        RebuildError::Input(cause) => input(cause, told),
        RebuildError::Contradiction(_) | RebuildError::OtherField(_) => told(Exit::Untrusted).hint(
            "do not sign it: whoever made it changed what it says after it was built, or has another builder",
        ),
        RebuildError::OtherPlatform { .. } => {
            told(Exit::Host).hint("rebuild it on a machine of that platform")
        }
        RebuildError::OtherEnvironment { .. } => told(Exit::Host).hint(
            "bring the machine to the same packages, or say --other-environment: the verdict then \
             names the environment that it was rebuilt in",
        ),
        RebuildError::Io { .. } => told(Exit::Host),
        RebuildError::Prepare(_) | RebuildError::Build(_) => match error {
            RebuildError::Prepare(error) => prepare("no verdict", error),
            RebuildError::Build(error) => build(error, log),
            other => Failure::caused(Exit::Host, "no verdict", &other),
        },
    }
}

pub(super) fn signer(error: &SignerError) -> Failure {
    let failure = Failure::caused(Exit::Secret, "nothing was signed", error);
    match error {
        SignerError::Ask(AskError::Malformed(_)) => {
            Failure::caused(Exit::Usage, "nothing was signed", error)
        }
        SignerError::OtherKey { .. } => {
            failure.hint("--identity-file must be the public half of the signer's key")
        }
        _ => failure.hint("try the signer command by itself: it says why on standard error"),
    }
}
