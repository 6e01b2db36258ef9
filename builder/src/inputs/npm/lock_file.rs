//! Reads `package-lock.json` (and `npm-shrinkwrap.json`), formats 2 and 3.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{NpmId, Sha512};
use crate::inputs::InputError;

/// Most packages of one lock file.
const MAX_PACKAGES: usize = 50_000;

#[derive(Deserialize)]
struct LockFile {
    #[serde(rename = "lockfileVersion")]
    version: Option<u32>,
    packages: Option<BTreeMap<String, Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<String>,
    integrity: Option<String>,
    #[serde(default)]
    link: bool,
    #[serde(default)]
    in_bundle: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    os: Vec<String>,
    #[serde(default)]
    cpu: Vec<String>,
}

/// The packages of the registry that a lock file pins, for this machine's platform. What lies in the source itself
/// (links, workspaces, bundled packages, archives beside it) is left out.
///
/// # Errors
/// It is none, or has a package that is not of the registry or is pinned by less than a SHA-512.
pub fn parse(bytes: &[u8], file: &str) -> Result<BTreeMap<NpmId, Sha512>, InputError> {
    let refused = |name: &str, what: &str| InputError::Unsupported {
        name: name.to_owned(),
        what: what.to_owned(),
    };
    let lock: LockFile = serde_json::from_slice(bytes)
        .map_err(|e| refused(file, &format!("no package-lock.json: {e}")))?;
    let known = matches!(lock.version, Some(2 | 3));
    let (true, Some(packages)) = (known, lock.packages) else {
        let what =
            "its lockfileVersion is not 2 or 3; `npm install --package-lock-only` writes it anew";
        return Err(refused(file, what));
    };
    if packages.len() > MAX_PACKAGES {
        return Err(refused(file, &format!("it pins more than {MAX_PACKAGES} packages")));
    }
    let mut found = BTreeMap::new();
    for (path, entry) in packages {
        // Workspaces and the project itself lie elsewhere than below node_modules.
        let Some((_, last)) = path.rsplit_once("node_modules/") else { continue };
        let resolved = entry.resolved.as_deref().unwrap_or_default();
        if entry.link || entry.in_bundle || resolved.starts_with("file:") {
            continue;
        }
        if entry.optional && !(fits(&entry.os, "linux") && fits(&entry.cpu, cpu())) {
            continue;
        }
        let name = entry.name.as_deref().unwrap_or(last);
        let shown = format!("npm:{name}");
        if resolved.starts_with("git") {
            let what = format!("{file} takes it from a git repository, not from the registry");
            return Err(refused(&shown, &what));
        }
        let Some(id) = NpmId::new(name, entry.version.as_deref().unwrap_or_default()) else {
            return Err(refused(&shown, &format!("{file} gives it no name and full version")));
        };
        let Some(integrity) = entry.integrity else {
            return Err(refused(&id.input_name(), &format!("{file} has no integrity for it")));
        };
        let Some(sha512) = Sha512::from_integrity(&integrity) else {
            let what = format!(
                "{file} pins it by {:?} only, which is not enough: sha512 is needed",
                integrity
                    .split('-')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(20)
                    .collect::<String>()
            );
            return Err(refused(&id.input_name(), &what));
        };
        if found.insert(id.clone(), sha512.clone()).is_some_and(|other| other != sha512) {
            return Err(refused(&id.input_name(), &format!("{file} pins it twice, differently")));
        }
    }
    Ok(found)
}

/// npm's rule: one of the names, or not one that is written with `!`.
fn fits(names: &[String], here: &str) -> bool {
    let (not, only): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| name.starts_with('!'));
    !not.iter().any(|name| &name[1..] == here) && (only.is_empty() || only.contains(&here))
}

fn cpu() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(entry: &str) -> Result<BTreeMap<NpmId, Sha512>, InputError> {
        let text = format!(
            r#"{{"lockfileVersion":3,"packages":{{"":{{"name":"x"}},"packages/own":{{"version":"1.0.0"}},
            "node_modules/own":{{"link":true,"resolved":"packages/own"}},
            "node_modules/a":{entry}}}}}"#
        );
        parse(text.as_bytes(), "package-lock.json")
    }

    fn sha512() -> String {
        format!("sha512-{}==", "A".repeat(86))
    }

    #[test]
    fn packages_of_the_registry_are_read_and_others_refused_by_name() {
        let good = format!(r#"{{"version":"1.2.3","integrity":"sha1-xyz {}"}}"#, sha512());
        let names: Vec<String> = lock(&good).unwrap().keys().map(NpmId::input_name).collect();
        assert_eq!(names, ["npm:a@1.2.3"]);
        let alias = format!(r#"{{"name":"@s/b","version":"1.2.3","integrity":"{}"}}"#, sha512());
        let names: Vec<String> = lock(&alias).unwrap().keys().map(NpmId::input_name).collect();
        assert_eq!(names, ["npm:@s/b@1.2.3"]);
        for (entry, named) in [
            (
                r#"{"version":"1.2.3","integrity":"sha1-QUJD"}"#,
                "npm:a@1.2.3: package-lock.json pins it by \"sha1\"",
            ),
            (r#"{"version":"1.2.3"}"#, "no integrity"),
            (
                r#"{"version":"1.2.3","resolved":"git+ssh://x/y#abc"}"#,
                "npm:a: package-lock.json takes it from a git",
            ),
            (r#"{"version":"^1"}"#, "no name and full version"),
        ] {
            let error = lock(entry).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let old = parse(br#"{"lockfileVersion":1,"dependencies":{}}"#, "package-lock.json");
        assert!(old.unwrap_err().to_string().contains("lockfileVersion"));
    }

    #[test]
    fn packages_for_other_platforms_and_bundled_ones_are_left_out() {
        let of = |more: &str| {
            lock(&format!(r#"{{"version":"1.2.3","integrity":"{}",{more}}}"#, sha512()))
                .unwrap()
                .len()
        };
        assert_eq!(of(r#""optional":true,"os":["darwin"]"#), 0);
        assert_eq!(of(r#""optional":true,"os":["!linux"]"#), 0);
        assert_eq!(of(r#""optional":true,"os":["!win32"]"#), 1);
        assert_eq!(of(r#""os":["darwin"]"#), 1);
        assert_eq!(of(r#""inBundle":true"#), 0);
    }
}
