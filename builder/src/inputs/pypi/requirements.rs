//! Reads a requirements file whose every line is pinned: `NAME==VERSION --hash=sha256:DIGEST …`.

use std::collections::{BTreeMap, BTreeSet};

use countersign_metadata::Sha256;

use super::PypiId;
use crate::inputs::InputError;

/// Most requirements of one file.
const MAX: usize = 10_000;
/// Options that change nothing about where files come from.
const HARMLESS: [&str; 4] = ["--require-hashes", "--only-binary", "--no-binary", "--prefer-binary"];

/// The versions that a requirements file pins, each with the digests that are allowed.
///
/// # Errors
/// A line is not pinned, or asks for something from elsewhere than the index.
pub fn parse(text: &str, file: &str) -> Result<BTreeMap<PypiId, BTreeSet<Sha256>>, InputError> {
    let mut found: BTreeMap<PypiId, BTreeSet<Sha256>> = BTreeMap::new();
    for (number, line) in logical_lines(text) {
        let refused = |what: &str| InputError::Unsupported {
            name: format!("{file}:{number}"),
            what: what.to_owned(),
        };
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with('-') {
            let option = line.split([' ', '=']).next().unwrap_or_default();
            if HARMLESS.contains(&option) {
                continue;
            }
            return Err(refused(&format!(
                "{option:?} is not read: packages come from the machine's own index, by name"
            )));
        }
        let (requirement, options) = match line.find(" --") {
            Some(at) => line.split_at(at),
            None => (line, ""),
        };
        let requirement = requirement.split(';').next().unwrap_or_default();
        let pinned = requirement.split_once("==");
        let (name, version) = pinned.ok_or_else(|| refused("it is not pinned by =="))?;
        let name = name.split('[').next().unwrap_or_default().trim();
        let id =
            PypiId::new(name, version.trim()).ok_or_else(|| refused("it is no NAME==VERSION"))?;
        let hashes: BTreeSet<Sha256> = options
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("--hash=sha256:")?.parse().ok())
            .collect();
        if hashes.is_empty() {
            return Err(refused(&format!(
                "{} has no --hash=sha256:…; `pip-compile --generate-hashes` writes them",
                id.name()
            )));
        }
        found.entry(id).or_default().extend(hashes);
        if found.len() > MAX {
            return Err(refused("there are too many"));
        }
    }
    Ok(found)
}

/// Lines without comments, those that end in a backslash joined, with the number of their first.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let line = match line.trim_start().starts_with('#') {
            true => "",
            false => line.split(" #").next().unwrap_or(line),
        };
        let (part, goes_on) = match line.trim_end().strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        let (_, whole) = open.get_or_insert_with(|| (number + 1, String::new()));
        whole.push_str(part);
        whole.push(' ');
        if !goes_on {
            lines.extend(open.take());
        }
    }
    lines.extend(open);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_requirements_are_read_and_others_refused_with_their_line() {
        let digest = Sha256::of(b"x");
        let text = format!(
            "# written by pip-compile\n--require-hashes\nFoo.Bar[x]==1.0 ; python_version > '3' \\\n    \
             --hash=sha256:{digest} \\\n    --hash=sha256:{}  # a comment\n\nb==2 --hash=sha256:{digest}\n",
            Sha256::of(b"y")
        );
        let found = parse(&text, "requirements.txt").unwrap();
        let shown: Vec<(String, usize)> =
            found.iter().map(|(id, hashes)| (id.name(), hashes.len())).collect();
        assert_eq!(shown, [("pypi:b==2".to_owned(), 1), ("pypi:foo-bar==1.0".to_owned(), 2)]);
        for (line, named) in [
            ("a>=1", "not pinned"),
            ("a==1", "pypi:a==1 has no --hash"),
            ("a==1 --hash=md5:abc", "no --hash"),
            ("a @ https://example.org/a.whl", "not pinned"),
            ("-r other.txt", "\"-r\" is not read"),
            ("--index-url https://example.org", "\"--index-url\""),
            ("a==1.* --hash=sha256:00", "no NAME==VERSION"),
        ] {
            let error = parse(&format!("\n{line}\n"), "r.txt").unwrap_err().to_string();
            assert!(error.starts_with("r.txt:2: ") && error.contains(named), "{error}");
        }
    }
}
