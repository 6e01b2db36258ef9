//! Rust's sysroot: the compiler, cargo and the standard library of the machine, without what only people read.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::gather::Gathered;
use super::{EnvironmentError, RUST};

/// An installed toolchain.
pub(super) struct Sysroot {
    path: PathBuf,
    host: String,
    version: String,
}

/// Asks `rustc`, from `dir`, where its toolchain is. Where that has another version than `wanted`: the user's default
/// toolchain, or the one that rustup has installed under that version, if it is that version.
pub(super) fn find(dir: &Path, wanted: Option<&str>) -> Result<Sysroot, EnvironmentError> {
    let first = ask(dir, Choice::Here);
    let Some(wanted) = wanted else { return first };
    let is_wanted = |found: &Sysroot| found.version.split(' ').next() == Some(wanted);
    if first.as_ref().is_ok_and(is_wanted) {
        return first;
    }
    let others = [Choice::Default, Choice::Version(wanted)];
    let mut found = others.into_iter().filter_map(|choice| ask(dir, choice).ok());
    found.find(is_wanted).map_or(first, Ok)
}

/// Which toolchain rustup is asked for.
#[derive(Clone, Copy)]
enum Choice<'a> {
    /// What the directory and the caller's environment say.
    Here,
    /// The user's default.
    Default,
    /// This version, if it is installed under that name.
    Version(&'a str),
}

fn ask(dir: &Path, choice: Choice<'_>) -> Result<Sysroot, EnvironmentError> {
    let run = |arguments: &[&str]| {
        let mut rustc = Command::new("rustc");
        rustc.args(arguments).current_dir(dir).env("RUSTUP_AUTO_INSTALL", "0");
        rustc.env_remove("RUSTC_WRAPPER").env_remove("RUSTFLAGS");
        match choice {
            Choice::Here => {}
            Choice::Default => drop(rustc.current_dir("/").env_remove("RUSTUP_TOOLCHAIN")),
            Choice::Version(version) => drop(rustc.env("RUSTUP_TOOLCHAIN", version)),
        }
        let output = rustc
            .output()
            .map_err(|e| EnvironmentError::NoRust(format!("rustc cannot be run: {e}")))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(EnvironmentError::NoRust(format!("rustc does not work: {text}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let path = PathBuf::from(run(&["--print", "sysroot"])?.trim());
    let about = run(&["--version", "--verbose"])?;
    let line = |key: &str| about.lines().find_map(|l| l.strip_prefix(key)).map(str::to_owned);
    let unknown = || EnvironmentError::NoRust(format!("rustc says {about:?} about itself"));
    Ok(Sysroot {
        path: path
            .canonicalize()
            .map_err(|e| EnvironmentError::NoRust(format!("its sysroot is not there: {e}")))?,
        host: line("host: ").ok_or_else(unknown)?,
        version: line("rustc ").ok_or_else(unknown)?,
    })
}

impl Sysroot {
    /// Whether it came as packages of the machine, so that dpkg knows its files.
    pub(super) fn is_packaged(&self) -> bool {
        self.path == Path::new("/usr")
    }

    /// Takes the compiler, cargo, and the standard library for the machine's own target.
    pub(super) fn gather(&self, gathered: &mut Gathered) -> Result<(), EnvironmentError> {
        for program in ["cargo", "rustc", "rustdoc"] {
            let from = self.path.join("bin").join(program);
            if !from.is_file() && program != "rustdoc" {
                let text = format!("its sysroot {} has no bin/{program}", self.path.display());
                return Err(EnvironmentError::NoRust(text));
            }
            gathered.take(format!("{RUST}/bin/{program}"), &from)?;
        }
        let library = format!("{RUST}/lib");
        let rustlib = format!("{library}/rustlib");
        let target = format!("{rustlib}/{}", self.host);
        let wanted = |path: &str| {
            !path.starts_with(&format!("{rustlib}/"))
                || path == target
                || path.starts_with(&format!("{target}/"))
        };
        gathered.take_tree(&library, &self.path.join("lib"), &wanted)?;
        gathered.part(format!("rust={}", self.version));
        Ok(())
    }
}

/// The version to ask rustup for, from the parts of a locked environment.
pub(crate) fn version_in(parts: &[String]) -> Option<&str> {
    parts.iter().find_map(|part| part.strip_prefix("rust=")?.split(' ').next())
}
