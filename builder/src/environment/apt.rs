//! Which Debian packages an environment is made of, asked from apt, and their files: apt's own sites, proxies, keys and
//! downloader, but a state of its own (`CACHE/apt/`), in which nothing is installed yet.
//!
//! Of the packages in apt's sources only Debian's own count (the label in the suite's signed index), and the main suite
//! before the security suite, whose files go away.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use countersign_metadata::Sha256;
use countersign_metadata::release::{Blob, Input};
use nix::fcntl::{Flock, FlockArg};

use super::EnvironmentError;
use crate::Inside;
use crate::inputs::debian::{APT_HELPER, last_lines, sites};
use crate::inputs::{InputError, Inputs};

/// Debian's packages count, before those of its security suite; nobody else's, and nothing is installed.
const PREFERENCES: &str = "\
Package: *\nPin: release l=Debian\nPin-Priority: 990\n\n\
Package: *\nPin: release l=Debian-Security\nPin-Priority: 500\n\n\
Package: *\nPin: release a=*\nPin-Priority: -1\n";
/// Every package may use the essential ones without naming them; these three are for a running machine.
const ESSENTIAL: &str = "?and(?essential,?not(?exact-name(apt)),?not(?exact-name(init-system-helpers)),\
                         ?not(?exact-name(login)))";
/// Files asked from apt's downloader at once.
const AT_ONCE: usize = 64;

/// A binary package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// `NAME=VERSION`.
    pub(super) part: String,
    /// Where it lies on every mirror: `pool/…/FILE.deb`.
    pub(super) path: Inside,
    /// Its digest.
    pub(super) sha256: Sha256,
    /// In bytes.
    pub(super) length: u64,
}

impl Package {
    /// As a locked input: `debian:NAME=VERSION/pool/…/FILE.deb`.
    pub(super) fn input(&self) -> Input {
        let blob = Blob { sha256: self.sha256, length: self.length };
        Input { name: format!("debian:{}/{}", self.part, self.path), blob }
    }

    /// The package that an input is, if it is one.
    pub(super) fn of_input(input: &Input) -> Option<Self> {
        let (part, path) = input.name.strip_prefix("debian:")?.split_once('/')?;
        if !path.starts_with("pool/") || !path.ends_with(".deb") {
            return None;
        }
        let Blob { sha256, length } = input.blob;
        Some(Self { part: part.to_owned(), path: path.parse().ok()?, sha256, length })
    }
}

/// The packages asked for, the essential ones, and all that they depend on, sorted.
pub(super) fn resolve(
    asked: &BTreeSet<String>,
    cache: &Path,
    now: &dyn Fn(&str),
) -> Result<Vec<Package>, EnvironmentError> {
    if !Path::new(APT_HELPER).is_file() {
        return Err(EnvironmentError::NoApt);
    }
    let state = State::open(cache)?;
    now("asking apt for its indexes");
    let update = state.run("update", &[])?;
    now("resolving packages");
    let mut arguments = vec!["--print-uris", "--", ESSENTIAL];
    arguments.extend(asked.iter().map(String::as_str));
    let found = state.run("install", &arguments)?;
    if !found.status.success() {
        let mut said = last_lines(&found.stderr);
        if !update.status.success() {
            said = format!("{said}; {}", last_lines(&update.stderr));
        }
        return Err(EnvironmentError::Unresolved(said));
    }
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    let mut packages = text
        .lines()
        .filter(|line| line.starts_with('\''))
        .map(|line| parse(line).ok_or_else(|| EnvironmentError::Unresolved(line.to_owned())))
        .collect::<Result<Vec<_>, _>>()?;
    packages.sort_by(|a, b| a.part.cmp(&b.part));
    Ok(packages)
}

/// apt's private state, held by this process alone.
struct State {
    dir: PathBuf,
    _held: Flock<File>,
}

impl State {
    fn open(cache: &Path) -> Result<Self, EnvironmentError> {
        let dir = cache.join("apt");
        let failed = |e| EnvironmentError::io(&dir, e);
        for name in ["lists/partial", "cache/archives/partial", "none"] {
            fs::create_dir_all(dir.join(name)).map_err(failed)?;
        }
        let file = File::create(dir.join("held")).map_err(failed)?;
        let held = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed(e.into()))?;
        fs::write(dir.join("status"), "").map_err(failed)?;
        fs::write(dir.join("preferences"), PREFERENCES).map_err(failed)?;
        Ok(Self { dir, _held: held })
    }

    /// Where apt takes packages from; it knows once it has their indexes.
    fn sites(&self, now: &dyn Fn(&str)) -> Result<Vec<String>, EnvironmentError> {
        let mut known = self.known_sites()?;
        if known.is_empty() {
            now("asking apt for its indexes");
            self.run("update", &[])?;
            known = self.known_sites()?;
        }
        // Where there are none to be had now, what is written in apt's sources may do.
        known.extend(sites());
        let mut sites: Vec<String> = Vec::new();
        for site in known {
            // apt does not bring what lies on this machine already, unless it is told to copy it.
            let site = site.trim().trim_end_matches('/');
            let site = match site.strip_prefix("file:") {
                Some(path) => format!("copy:{path}"),
                None => site.to_owned(),
            };
            if !site.is_empty() && !sites.contains(&site) {
                sites.push(site);
            }
        }
        Ok(sites)
    }

    fn known_sites(&self) -> Result<Vec<String>, EnvironmentError> {
        let output = self.run("indextargets", &["--format", "$(REPO_URI)"])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn run(&self, verb: &str, more: &[&str]) -> Result<Output, EnvironmentError> {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let dir = |name: &str| self.dir.join(name).display().to_string();
        let options = [
            format!("Dir::State={}", dir("")),
            format!("Dir::State::lists={}", dir("lists")),
            format!("Dir::State::status={}", dir("status")),
            format!("Dir::State::extended_states={}", dir("extended")),
            format!("Dir::Cache={}", dir("cache")),
            format!("Dir::Etc::preferences={}", dir("preferences")),
            format!("Dir::Etc::preferencesparts={}", dir("none")),
            format!("APT::Architecture={arch}"),
            format!("APT::Architectures={arch}"),
            "APT::Default-Release=".to_owned(),
            "APT::Install-Recommends=false".to_owned(),
            "APT::Install-Suggests=false".to_owned(),
            "Acquire::ForceHash=SHA256".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // Nothing is installed, so there is no lock of the machine's to be taken.
            "Debug::NoLocking=true".to_owned(),
        ];
        let mut command = Command::new("apt-get");
        command.arg("-qq").env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        for option in options {
            command.args(["-o", &option]);
        }
        let failed = |source| EnvironmentError::Program { program: "apt-get".to_owned(), source };
        command.arg(verb).args(more);
        crate::client::output(&mut command).map_err(failed)
    }
}

/// `'URI' NAME_VERSION_ARCH.deb LENGTH SHA256:DIGEST`.
fn parse(line: &str) -> Option<Package> {
    let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut words = rest.split(' ');
    let file = words.next()?.strip_suffix(".deb")?;
    let length = words.next()?.parse().ok()?;
    let sha256 = words.next()?.strip_prefix("SHA256:")?.parse().ok()?;
    let mut fields = file.split('_');
    let (name, version) = (fields.next()?, decoded(fields.next()?)?);
    let path = decoded(&uri[uri.find("/pool/")? + 1..])?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.~_:/".contains(c);
    if !path.chars().all(plain) || !version.chars().all(plain) {
        return None;
    }
    Some(Package { part: format!("{name}={version}"), path: path.parse().ok()?, sha256, length })
}

/// `%2b` → `+`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'%' => hex::decode([left.next()?, left.next()?]).ok()?[0],
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Has packages at hand: from the store, or downloaded by apt's helper from the first of its sites that has each.
pub(super) fn fetch(
    packages: &[Package],
    inputs: &Inputs,
    cache: &Path,
    now: &dyn Fn(&str),
) -> Result<(), EnvironmentError> {
    let mut missing = Vec::new();
    for package in packages {
        if inputs.find(&package.input().name, &package.sha256)?.is_none() {
            missing.push(package.clone());
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let all = missing.len();
    let failed = |missing: &[Package], what: String| {
        let name = missing.first().map(|package| package.input().name).unwrap_or_default();
        EnvironmentError::from(InputError::Client { client: "apt", name, what })
    };
    if !Path::new(APT_HELPER).is_file() {
        return Err(failed(&missing, "this machine has no apt".to_owned()));
    }
    let mut said = String::from("it knows no site");
    for site in State::open(cache)?.sites(now)? {
        for batch in missing.clone().chunks(AT_ONCE) {
            now(&format!("fetching packages, {} of {all} left", missing.len()));
            said = download(&site, batch, inputs, &mut missing)?;
        }
        if missing.is_empty() {
            return Ok(());
        }
    }
    Err(failed(&missing, said))
}

/// Tries one site; what came is taken off `missing`.
fn download(
    site: &str,
    batch: &[Package],
    inputs: &Inputs,
    missing: &mut Vec<Package>,
) -> Result<String, EnvironmentError> {
    let scratch = inputs.scratch()?;
    let place = |number: usize| scratch.path().join(number.to_string());
    let mut helper = Command::new(APT_HELPER);
    helper.args(["-q", "download-file"]).env("LC_ALL", "C");
    for (number, package) in batch.iter().enumerate() {
        // apt takes what it is given as an URI, in which a plus has its own meaning on some servers.
        let path = package.path.as_str().replace('+', "%2b").replace('~', "%7e");
        helper.arg(format!("{site}/{path}")).arg(place(number));
        helper.arg(format!("SHA256:{}", package.sha256));
    }
    let failed = |source| EnvironmentError::Program { program: APT_HELPER.to_owned(), source };
    let output = crate::client::output(&mut helper).map_err(failed)?;
    for (number, package) in batch.iter().enumerate() {
        // Whatever the helper says: what came is hashed.
        if place(number).is_file() {
            inputs.add_file(&package.input().name, &place(number), &package.sha256)?;
            missing.retain(|other| other != package);
        }
    }
    Ok(last_lines(&output.stderr))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_read_from_apt_and_from_its_locked_name_alike() {
        let digest = Sha256::of(b"");
        let line = format!(
            "'http://x/debian/pool/main/g/gcc-12/libstdc%2b%2b6_12.2.0-14%2bdeb12u1_amd64.deb' \
             libstdc++6_1%3a12.2.0-14+deb12u1_amd64.deb 612604 SHA256:{digest}"
        );
        let package = parse(&line).unwrap();
        assert_eq!(package.part, "libstdc++6=1:12.2.0-14+deb12u1");
        assert_eq!(
            package.path.as_str(),
            "pool/main/g/gcc-12/libstdc++6_12.2.0-14+deb12u1_amd64.deb"
        );
        assert_eq!(Package::of_input(&package.input()), Some(package));
        for bad in [
            line.replace("/pool/", "/pool/../"),
            line.replace("SHA256", "MD5Sum"),
            line.replace("/pool/", "/flat/"),
            line.replace("%2b%2b6_12", "%0a6_12"),
            "Reading package lists...".to_owned(),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
        let source = Input {
            name: "debian:beanstalkd=1/beanstalkd_1.orig.tar.gz".to_owned(),
            blob: Blob { sha256: digest, length: 1 },
        };
        assert_eq!(Package::of_input(&source), None);
    }
}
