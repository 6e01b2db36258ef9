//! npm projects: a package, as `npm pack` makes it.

use std::path::Path;
use std::process::Command;

use countersign_metadata::Version;
use serde_json::Value;

use super::{Found, InitError, Kind, MODES, OUT, read};

/// Where npm itself is laid.
const ARCHIVE: &str = "countersign-npm.tgz";
/// The npm for a machine that has none.
const NPM: &str = "10.9.2";

pub(super) fn look(dir: &Path) -> Result<Found, InitError> {
    let mut found = Found::new(Kind::Npm, dir);
    found.tools.clear();
    let path = dir.join("package.json");
    let package: Value = serde_json::from_str(&read(&path)?)
        .map_err(|e| InitError::Project { path, what: e.to_string() })?;
    let name = package["name"].as_str();
    if let Some(name) = name {
        found.call(name);
    }
    let version = package["version"].as_str();
    found.versioned(version);
    found.program("/usr/bin/node", "nodejs");
    // Of a version that the lock names, whatever else a machine has put in its place.
    let npm = Command::new("npm").arg("--version").current_dir("/").output();
    let npm = npm.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default();
    let npm = if npm.parse::<Version>().is_ok() { npm } else { NPM.to_owned() };
    found.inputs.push((ARCHIVE.to_owned(), format!("npm:npm@{npm}")));
    found.step(format!(
        "mkdir \"$HOME/npm\" && tar -xzf {ARCHIVE} -C \"$HOME/npm\" && rm {ARCHIVE}"
    ));
    found.step(
        "printf '#!/bin/sh\\nexec node \"$HOME/npm/package/bin/npm-cli.js\" \"$@\"\\n' > \"$HOME/npm/npm\" && \
         chmod +x \"$HOME/npm/npm\"",
    );
    let lists = ["npm-shrinkwrap.json", "package-lock.json"];
    let list = lists.into_iter().find(|name| dir.join(name).is_file());
    let needs = ["dependencies", "devDependencies", "optionalDependencies"]
        .iter()
        .any(|field| package[field].as_object().is_some_and(|all| !all.is_empty()));
    match list {
        Some(list) => {
            found.list = Some(("package-lock", list.to_owned()));
            found.step(run("npm ci"));
        }
        None if needs => {
            found.notes.push(
                "there is no package-lock.json: `npm install --package-lock-only` makes one; then add \
                 package-lock = [\"package-lock.json\"] to [build], and `npm ci` to its steps"
                    .to_owned(),
            );
        }
        None => {}
    }
    if package["scripts"]["build"].is_string() {
        found.step(run("npm run build"));
    }
    found.step(format!("{MODES}; mkdir -p {OUT}"));
    found.step(run(&format!("npm pack --ignore-scripts --pack-destination {OUT}")));
    // As npm names it.
    let name = name.unwrap_or("package").trim_start_matches('@').replace('/', "-");
    let file = format!("{name}-{}.tgz", version.unwrap_or("0.0.0"));
    found.output(file.clone(), format!("{OUT}/{file}"));
    Ok(found)
}

fn run(command: &str) -> String {
    format!("umask 0022; PATH=\"$HOME/npm:$PATH\" {command}")
}
