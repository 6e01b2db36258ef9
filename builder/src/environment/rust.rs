//! Rust's sysroot: the compiler, cargo and the standard library of the machine, without what only people read.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::gather::Gathered;
use super::{EnvironmentError, RUST};

/// An installed toolchain.
pub(super) struct Sysroot {
    path: PathBuf,
    host: String,
    version: String,
}

/// Which toolchain is asked for. Nothing of a source runs to find out: `rustc` is asked from `/`, never from a directory
/// whose toolchain file could name a compiler of its own.
#[derive(Clone, Copy, Debug)]
pub enum Toolchain<'a> {
    /// The caller's own: what the environment says, or the default.
    Default,
    /// The channel that the toolchain file of a directory names, where it is installed; else the caller's own.
    Of(&'a Path),
    /// This version, if it is there, even as the channel that the directory's toolchain file names; else the caller's own.
    Version(&'a str, Option<&'a Path>),
}

/// Longest toolchain file.
const MAX_FILE: u64 = 64 << 10;

/// Finds the toolchain. Where the wanted version is not the caller's own: rustup's default, or the one that it has
/// installed under that name.
pub(super) fn find(wanted: Toolchain<'_>) -> Result<Sysroot, EnvironmentError> {
    let own = || ask(None, false);
    match wanted {
        Toolchain::Default => own(),
        Toolchain::Of(dir) => match channel(dir).and_then(|channel| installed(&channel)) {
            Some(name) => ask(Some(&name), false),
            None => own(),
        },
        Toolchain::Version(version, dir) => {
            let first = own();
            let is_wanted = |found: &Sysroot| found.version.split(' ').next() == Some(version);
            if first.as_ref().is_ok_and(is_wanted) {
                return first;
            }
            let of_default = || ask(None, true).ok().filter(is_wanted);
            let by_name = || ask(Some(&installed(version)?), false).ok().filter(is_wanted);
            let by_file = || ask(Some(&installed(&channel(dir?)?)?), false).ok().filter(is_wanted);
            of_default().or_else(by_name).or_else(by_file).map_or(first, Ok)
        }
    }
}

/// The `channel` of a directory's toolchain file; the other things that it may say are not done.
pub(super) fn channel(dir: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct File {
        toolchain: Section,
    }
    #[derive(Deserialize)]
    struct Section {
        channel: Option<String>,
    }
    let read = |name: &str| crate::files::read_limited_no_link(&dir.join(name), MAX_FILE).ok();
    // The older name, which may hold the channel alone, goes first, as with rustup.
    let bytes = read("rust-toolchain").or_else(|| read("rust-toolchain.toml"))?;
    let text = String::from_utf8(bytes).ok()?;
    match toml::from_str::<File>(&text) {
        Ok(file) => file.toolchain.channel,
        Err(_) => Some(text.trim().to_owned()).filter(|text| !text.contains(['\n', '=', '['])),
    }
}

/// The name under which rustup has a channel installed.
fn installed(channel: &str) -> Option<String> {
    let output =
        Command::new("rustup").args(["toolchain", "list"]).current_dir("/").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    named(channel, &text)
}

/// The one of rustup's list that is this channel for some host. Its names only, never a path.
fn named(channel: &str, list: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if channel.is_empty() || !channel.chars().all(plain) || channel.starts_with(['.', '-']) {
        return None;
    }
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    let is_it = |name: &&str| {
        name.strip_prefix(channel).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    names.filter(is_it).min_by_key(|name| name.len()).map(str::to_owned)
}

fn ask(toolchain: Option<&str>, of_default: bool) -> Result<Sysroot, EnvironmentError> {
    let run = |arguments: &[&str]| {
        let mut rustc = Command::new("rustc");
        rustc.args(arguments).current_dir("/").env("RUSTUP_AUTO_INSTALL", "0");
        rustc.env_remove("RUSTC_WRAPPER").env_remove("RUSTFLAGS");
        match toolchain {
            Some(name) => drop(rustc.env("RUSTUP_TOOLCHAIN", name)),
            None if of_default => drop(rustc.env_remove("RUSTUP_TOOLCHAIN")),
            None => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_file_chooses_by_name_among_what_is_installed_and_runs_nothing() {
        let list = "stable-x86_64-unknown-linux-gnu (default)\nnightly-2026-01-01-x86_64-unknown-linux-gnu\n\
                    1.95.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(named("1.95.0", list).as_deref(), Some("1.95.0-x86_64-unknown-linux-gnu"));
        for none in ["1.9", "", "/evil", "../evil", "-v", "beta"] {
            assert_eq!(named(none, list), None, "{none}");
        }
        let dir = tempfile::tempdir().unwrap();
        let write =
            |text: &str| std::fs::write(dir.path().join("rust-toolchain.toml"), text).unwrap();
        write("[toolchain]\nchannel = \"1.95.0\"\nprofile = \"minimal\"\n");
        assert_eq!(channel(dir.path()).as_deref(), Some("1.95.0"));
        write("[toolchain]\npath = \"evil\"\n");
        assert_eq!(channel(dir.path()), None);
    }
}
