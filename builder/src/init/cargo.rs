//! Cargo projects and workspaces: read from their manifests, as cargo itself would run what a project configures.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Found, InitError, Kind, read_toml};

pub(super) fn look(dir: &Path) -> Result<Found, InitError> {
    let mut found = Found::new(Kind::Cargo, dir);
    found.tools = vec!["rust", "c"];
    let root = read_toml(&dir.join("Cargo.toml"))?;
    let shared = at(&root, &["workspace", "package", "version"]).and_then(Value::as_str);
    let mut programs = BTreeSet::new();
    let mut libraries = BTreeSet::new();
    let mut version = shared.map(str::to_owned);
    let mut manifests = vec![(dir.to_owned(), root.clone())];
    for member in members(&root, dir) {
        let manifest = read_toml(&member.join("Cargo.toml"))?;
        manifests.push((member, manifest));
    }
    for (place, manifest) in &manifests {
        let Some(name) = at(manifest, &["package", "name"]).and_then(Value::as_str) else {
            continue;
        };
        if place == dir {
            found.call(name);
            let own = at(manifest, &["package", "version"]).and_then(Value::as_str);
            version = own.map(str::to_owned).or(version);
        }
        programs_of(place, manifest, name, &mut programs);
        if place.join("src/lib.rs").is_file() {
            libraries.insert(name.replace('-', "_"));
        }
    }
    found.versioned(version.as_deref());
    let all = if manifests.len() > 1 { " --workspace" } else { "" };
    found.step(format!("cargo build --release --locked --offline{all}"));
    for program in &programs {
        found.output(format!("bin/{program}"), format!("target/release/{program}"));
    }
    if programs.is_empty() {
        found.notes.push("no program was found: the library itself is the output".to_owned());
        for library in &libraries {
            let file = format!("lib{library}.rlib");
            found.output(format!("lib/{file}"), format!("target/release/{file}"));
        }
    }
    found.list = Some(("cargo-lock", "Cargo.lock".to_owned()));
    if !dir.join("Cargo.lock").is_file() {
        found.notes.push("there is no Cargo.lock: `cargo generate-lockfile` makes one".to_owned());
    }
    Ok(found)
}

fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (last, above) = path.split_last()?;
    let mut table = table;
    for name in above {
        table = table.get(*name)?.as_table()?;
    }
    table.get(*last)
}

fn members(root: &Table, dir: &Path) -> Vec<PathBuf> {
    let listed = at(root, &["workspace", "members"]).and_then(Value::as_array);
    let mut found = BTreeSet::new();
    for pattern in listed.into_iter().flatten().filter_map(Value::as_str) {
        match pattern.strip_suffix("/*") {
            Some(above) => {
                let entries = std::fs::read_dir(dir.join(above)).into_iter().flatten().flatten();
                found.extend(entries.map(|entry| entry.path()));
            }
            None => drop(found.insert(dir.join(pattern))),
        }
    }
    found.into_iter().filter(|path| path.join("Cargo.toml").is_file()).collect()
}

fn programs_of(place: &Path, manifest: &Table, name: &str, programs: &mut BTreeSet<String>) {
    let listed = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
    let optional = |bin: &&Value| bin.get("required-features").is_none();
    let named = listed.filter(optional).filter_map(|bin| bin.get("name")?.as_str());
    let listed: Vec<String> = named.map(str::to_owned).collect();
    if place.join("src/main.rs").is_file() && !is_main(manifest) {
        programs.insert(name.to_owned());
    }
    programs.extend(listed);
    for entry in std::fs::read_dir(place.join("src/bin")).into_iter().flatten().flatten() {
        let path = entry.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_program =
            path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").is_file();
        if is_program && !is_path_of_another(manifest, &path, place) {
            programs.insert(stem);
        }
    }
}

/// Whether `[[bin]]` gives `src/main.rs` another name.
fn is_main(manifest: &Table) -> bool {
    paths(manifest).any(|path| path == "src/main.rs")
}

fn is_path_of_another(manifest: &Table, path: &Path, place: &Path) -> bool {
    paths(manifest).any(|other| {
        let other = place.join(other);
        other == path || other == path.join("main.rs")
    })
}

fn paths(manifest: &Table) -> impl Iterator<Item = &str> {
    let bins = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
    bins.filter_map(|bin| bin.get("path")?.as_str())
}
