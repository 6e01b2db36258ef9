//! Python projects: a wheel, as pip makes it.

use std::path::Path;

use toml::Value;

use super::{Found, InitError, Kind, MODES, OUT, read, read_toml};

pub(super) fn look(dir: &Path) -> Result<Found, InitError> {
    let mut found = Found::new(Kind::Python, dir);
    // Parts in C are common enough.
    found.tools = vec!["c"];
    found.packages = ["python3", "python3-pip"].map(str::to_owned).to_vec();
    let path = dir.join("pyproject.toml");
    let project = if path.is_file() { read_toml(&path)? } else { toml::Table::new() };
    let field = |name: &str| project.get("project")?.get(name)?.as_str();
    if let Some(name) = field("name") {
        found.call(name);
    }
    found.versioned(field("version"));
    let requires =
        project.get("build-system").and_then(|system| system.get("requires")?.as_array());
    let requires: Vec<&str> = match requires {
        Some(all) => all.iter().filter_map(Value::as_str).collect(),
        None => vec!["setuptools", "wheel"],
    };
    for requirement in requires {
        let end = requirement.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let name = &requirement[..end.unwrap_or(requirement.len())];
        let name = name.to_ascii_lowercase().replace(['_', '.'], "-");
        if name == "setuptools" {
            // Older ones make wheels by this one's help.
            found.packages.push("python3-wheel".to_owned());
        } else if name != "wheel" {
            found.notes.push(format!(
                "its build needs {name}: the Debian package python3-{name} is taken to bring it"
            ));
        }
        found.packages.push(format!("python3-{name}"));
    }
    found.packages.sort();
    found.packages.dedup();
    let list = dir.join("requirements.txt");
    if list.is_file() {
        match read(&list)?.contains("--hash=sha256:") {
            true => {
                found.list = Some(("requirements", "requirements.txt".to_owned()));
                found.notes.push(
                    "what requirements.txt pins is at hand for `pip install --require-hashes -r \
                     requirements.txt`, if a step needs it"
                        .to_owned(),
                );
            }
            false => found.notes.push(
                "requirements.txt has no hashes, so nothing of it is fetched: `pip-compile \
                 --generate-hashes` writes them"
                    .to_owned(),
            ),
        }
    }
    found.step(format!("{MODES}; umask 0022; python3 -m pip wheel --no-deps --no-build-isolation --wheel-dir {OUT} ."));
    found.output("wheels", OUT);
    Ok(found)
}
