//! Crates by `Cargo.lock`: `crates:NAME@VERSION`. Where they come from is cargo's own configuration: cargo
//! downloads them into its cache, and what is taken from there must have the digest that `Cargo.lock` pins.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use countersign_metadata::Sha256;
use countersign_metadata::release::Input;
use serde::Deserialize;

use super::{InputError, Inputs};

/// Longest `Cargo.lock`, in bytes.
const MAX_CARGO_LOCK: u64 = 16 << 20;

/// A crate of a `Cargo.lock`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrateId {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl CrateId {
    /// Its name as a locked input.
    pub fn input_name(&self) -> String {
        format!("crates:{}@{}", self.name, self.version)
    }

    /// From the name of a locked input.
    pub fn from_input_name(name: &str) -> Option<Self> {
        let (name, version) = name.strip_prefix("crates:")?.split_once('@')?;
        let this = Self { name: name.to_owned(), version: version.to_owned() };
        this.is_plain().then_some(this)
    }

    /// Its name as a file or directory, without an extension.
    pub fn file_stem(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    fn is_plain(&self) -> bool {
        let plain = |text: &str, more: &[u8]| {
            !text.is_empty()
                && text.len() <= 128
                && !text.starts_with('.')
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
        };
        plain(&self.name, b"-_") && plain(&self.version, b".-+")
    }
}

#[derive(Deserialize)]
struct CargoLock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<Sha256>,
}

/// The crates of a `Cargo.lock` with their digests. Packages without a source are the project's own.
///
/// # Errors
/// It is none, or has a package from elsewhere than the crates registry.
pub fn parse_cargo_lock(text: &str, file: &str) -> Result<BTreeMap<CrateId, Sha256>, InputError> {
    let unsupported =
        |name: &str, what: String| InputError::Unsupported { name: name.to_owned(), what };
    let lock: CargoLock =
        toml::from_str(text).map_err(|e| unsupported(file, format!("no Cargo.lock: {e}")))?;
    let mut crates = BTreeMap::new();
    for Package { name, version, source, checksum } in lock.package {
        let Some(source) = source else { continue };
        let id = CrateId { name, version };
        let what = || format!("its source {source:?} is not supported by this version");
        // Cargo writes this one source for the public registry, whatever it is replaced with.
        if !source.starts_with("registry+") || !source.ends_with("/crates.io-index") {
            return Err(unsupported(&id.input_name(), what()));
        }
        let checksum = checksum.ok_or_else(|| {
            unsupported(&id.input_name(), "Cargo.lock has no checksum for it".to_owned())
        })?;
        if !id.is_plain() {
            return Err(unsupported(file, format!("{:?} is no crate's name", id.name)));
        }
        crates.insert(id, checksum);
    }
    Ok(crates)
}

/// Has all these crates at hand: from the store, from cargo's cache, or downloaded by `cargo fetch` for a project that
/// needs just these crates in the versions of `cargo_lock`, where there is one.
///
/// # Errors
/// One cannot be had, or is not what `Cargo.lock` pins.
pub fn fetch(
    inputs: &Inputs,
    cargo_lock: Option<&[u8]>,
    crates: &BTreeMap<CrateId, Sha256>,
) -> Result<Vec<Input>, InputError> {
    let mut asked = false;
    let mut found = Vec::new();
    for (id, sha256) in crates {
        let name = id.input_name();
        let blob = loop {
            if let Some(blob) = inputs.at_hand(&name, sha256)? {
                break blob;
            }
            if let Some(path) = in_cargo_cache(id) {
                break inputs.add_file(&name, &path, sha256)?.1;
            }
            if asked {
                return Err(not_in_cache(name));
            }
            asked = true;
            cargo_fetch(inputs, cargo_lock, crates.keys(), &name)?;
        };
        found.push(Input { name, blob });
    }
    Ok(found)
}

/// Has one crate at hand, with the digest that its registry gives.
///
/// # Errors
/// It cannot be had.
pub fn fetch_newly(inputs: &Inputs, id: &CrateId) -> Result<Input, InputError> {
    let name = id.input_name();
    let resolved = cargo_fetch(inputs, None, std::iter::once(id), &name)?;
    let crates = parse_cargo_lock(&resolved, "Cargo.lock")?;
    let sha256 = crates.get(id).ok_or_else(|| not_in_cache(name.clone()))?;
    let path = in_cargo_cache(id).ok_or_else(|| not_in_cache(name.clone()))?;
    let (_, blob) = inputs.add_file(&name, &path, sha256)?;
    Ok(Input { name, blob })
}

fn not_in_cache(name: String) -> InputError {
    let what = "its cache holds no such archive (a vendored directory in place of a registry \
                keeps none)";
    InputError::Client { client: "cargo", name, what: what.to_owned() }
}

/// Never in the source's own directory: a configuration or toolchain file there names programs for cargo to run. The
/// user's own configuration still says where crates come from. Returns the lock that cargo made of it.
fn cargo_fetch<'a>(
    inputs: &Inputs,
    cargo_lock: Option<&[u8]>,
    crates: impl Iterator<Item = &'a CrateId>,
    name: &str,
) -> Result<String, InputError> {
    let failed = |what: String| InputError::Client { client: "cargo", name: name.to_owned(), what };
    let dir = inputs.scratch()?;
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).map_err(|e| InputError::io(&path, e))
    };
    // Versions that the lock has stay, withdrawn ones too.
    if let Some(lock) = cargo_lock {
        write("Cargo.lock", lock)?;
    }
    write("Cargo.toml", manifest(crates).as_bytes())?;
    write("lib.rs", b"")?;
    let output = crate::client::output(
        Command::new("cargo").args(["fetch", "--quiet"]).current_dir(dir.path()),
    )
    .map_err(|e| failed(format!("it cannot be run: {e}")))?;
    if !output.status.success() {
        return Err(failed(super::debian::last_lines(&output.stderr)));
    }
    let path = dir.path().join("Cargo.lock");
    let bytes = crate::files::read_limited_no_link(&path, MAX_CARGO_LOCK)
        .map_err(|e| InputError::io(&path, e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A project of its own that needs exactly these crates.
fn manifest<'a>(crates: impl Iterator<Item = &'a CrateId>) -> String {
    let mut text = "[workspace]\n\n[package]\nname = \"countersign-inputs\"\nversion = \"0.0.0\"\n\
                    edition = \"2021\"\n\n[lib]\npath = \"lib.rs\"\n\n[dependencies]\n"
        .to_owned();
    for (number, CrateId { name, version }) in crates.enumerate() {
        text.push_str(&format!(
            "c{number} = {{ package = \"{name}\", version = \"={version}\", default-features = false }}\n"
        ));
    }
    text
}

fn in_cargo_cache(id: &CrateId) -> Option<PathBuf> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cargo"),
    };
    let file = format!("{}.crate", id.file_stem());
    let registries = fs::read_dir(home.join("registry/cache")).ok()?;
    registries.filter_map(|entry| Some(entry.ok()?.path().join(&file))).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn lock(source: &str, name: &str) -> Result<BTreeMap<CrateId, Sha256>, InputError> {
        let text = format!(
            "version = 4\n[[package]]\nname = \"own\"\nversion = \"1.0.0\"\n\n[[package]]\n\
             name = \"{name}\"\nversion = \"2.0.0\"\nsource = \"{source}\"\nchecksum = \"{DIGEST}\"\n"
        );
        parse_cargo_lock(&text, "Cargo.lock")
    }

    #[test]
    fn crates_of_the_registry_are_read_and_others_refused_by_name() {
        let registry = "registry+https://example.org/rust-lang/crates.io-index";
        let crates = lock(registry, "dep").unwrap();
        let names: Vec<String> = crates.keys().map(CrateId::input_name).collect();
        assert_eq!(names, ["crates:dep@2.0.0"]);
        for (source, name) in [
            ("git+https://example.org/dep#abc", "dep"),
            ("registry+https://example.org/other", "dep"),
            (registry, "../dep"),
        ] {
            assert!(lock(source, name).is_err(), "{source} {name}");
        }
    }

    #[test]
    fn crates_are_fetched_for_a_project_of_our_own_that_needs_just_them() {
        let id = CrateId { name: "dep".to_owned(), version: "1.2.3+x".to_owned() };
        let manifest: toml::Table = toml::from_str(&manifest([&id].into_iter())).unwrap();
        let dependency = &manifest["dependencies"]["c0"];
        assert_eq!(dependency["package"].as_str(), Some("dep"));
        assert_eq!(dependency["version"].as_str(), Some("=1.2.3+x"));
    }
}
