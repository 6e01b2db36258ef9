//! Locked inputs where a build's own tools look for them without a network.
//!
//! ```text
//! BASE/vendor            crates, unpacked: cargo's configuration names it
//! BASE/pypi              wheels and source archives: pip's configuration names it
//! OURS/npm → ~/.npm      npm's cache, copied, as npm writes to it
//! OURS/inputs/N          files of [inputs], copied to their places in the source
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use countersign_sandbox::Mount;

use super::BuildError;
use super::script::quoted;
use crate::Inside;
use crate::inputs::vendor;
use crate::inputs::{InputError, npm, pypi};
use crate::prepare::{PrepareError, Prepared};

/// Inputs laid out in a directory of the builder's.
#[derive(Debug)]
pub(crate) struct Provided {
    dir: PathBuf,
    has_npm: bool,
    has_pypi: bool,
    laid: Vec<Inside>,
}

impl Provided {
    /// Lays the inputs of a prepared build out in `dir`, which exists.
    ///
    /// # Errors
    /// One is refused, or `dir` cannot be written.
    pub(crate) fn new(prepared: &Prepared, dir: &Path) -> Result<Self, BuildError> {
        let failed = |path: &Path, source| BuildError::Io { path: path.to_owned(), source };
        let make = |name: &str| super::directory(&dir.join(name));
        vendor::unpack(&prepared.named("crates:"), &make("vendor")?)?;
        let npm = prepared.named("npm:");
        npm::cache::fill(&npm, &make("npm")?).map_err(input)?;
        let pypi = make("pypi")?;
        let mut has_pypi = false;
        for (input, path) in prepared.named("pypi:") {
            let Some(file) = pypi::file_of(&input.name) else { continue };
            let to = pypi.join(file);
            fs::copy(&path, &to).map_err(|e| failed(&to, e))?;
            has_pypi = true;
        }
        let inputs = make("inputs")?;
        let mut laid = Vec::new();
        let found =
            prepared.laid().map_err(|e| BuildError::Prepare(PrepareError::from(e).into()))?;
        for (number, (path, file)) in found.into_iter().enumerate() {
            let to = inputs.join(number.to_string());
            fs::copy(&file, &to).map_err(|e| failed(&to, e))?;
            laid.push(path);
        }
        Ok(Self { dir: dir.to_owned(), has_npm: !npm.is_empty(), has_pypi, laid })
    }

    /// The directories below a build's base that something is mounted on.
    pub(super) fn places(&self, has_rust: bool) -> impl Iterator<Item = &'static str> {
        let all = [("vendor", has_rust), ("pypi", self.has_pypi)];
        all.into_iter().filter_map(|(name, is_there)| is_there.then_some(name))
    }

    /// Where they are mounted.
    pub(super) fn mounts(&self, base: &str, ours: &str, has_rust: bool) -> Vec<Mount> {
        let mount =
            |name: &str, to: String| Mount::ReadOnly { from: self.dir.join(name), to: to.into() };
        let mut mounts = Vec::new();
        if has_rust {
            mounts.push(mount("vendor", format!("{base}/vendor")));
        }
        if self.has_pypi {
            mounts.push(mount("pypi", format!("{base}/pypi")));
        }
        if self.has_npm {
            mounts.push(mount("npm", format!("{ours}/npm")));
        }
        if !self.laid.is_empty() {
            mounts.push(mount("inputs", format!("{ours}/inputs")));
        }
        mounts
    }

    /// What a shell does before the first step, where the inputs are below `ours`.
    pub(super) fn lines(&self, base: &str, ours: &str, epoch: u64) -> Vec<String> {
        let mut lines = Vec::new();
        if self.has_npm {
            lines.push(format!("cp -r {ours}/npm \"$HOME/.npm\""));
            lines.push(format!("printf %s {} > \"$HOME/.npmrc\"", quoted(npm::cache::CONFIG)));
        }
        if self.has_pypi {
            let config = format!(
                "[global]\nno-index = true\nfind-links = {base}/pypi\nno-cache-dir = true\n\
                 disable-pip-version-check = true\nroot-user-action = ignore\n"
            );
            lines.push("mkdir -p \"$HOME/.config/pip\"".to_owned());
            lines.push(format!("printf %s {} > \"$HOME/.config/pip/pip.conf\"", quoted(&config)));
        }
        if !self.laid.is_empty() {
            lines.push("lay() {".to_owned());
            lines.push("  if [ -e \"$2\" ] || [ -L \"$2\" ]; then".to_owned());
            lines.push(
                "    echo \"the input $2 lies where the source has a file\"; exit 1".to_owned(),
            );
            lines.push("  fi".to_owned());
            lines.push("  mkdir -p -- \"$(dirname -- \"$2\")\"; cp -- \"$1\" \"$2\"".to_owned());
            lines.push(format!("  chmod 0644 -- \"$2\"; touch -d @{epoch} -- \"$2\""));
            lines.push("}".to_owned());
        }
        for (number, path) in self.laid.iter().enumerate() {
            let to = quoted(&format!("{base}/src/{path}"));
            lines.push(format!("lay {ours}/inputs/{number} {to}"));
        }
        lines
    }
}

fn input(error: InputError) -> BuildError {
    BuildError::Vendor(error.into())
}
