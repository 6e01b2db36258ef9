//! One area of state: the schemas that a release reads and writes, how it migrates, and where its secrets lie.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::BadNode;

/// One area of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AreaSpec {
    /// The schema version that this release reads and writes; from 1.
    pub schema: u32,
    /// Other schema versions that this release reads as they are, and may leave as they are: from one of them no
    /// migration is run.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reads: BTreeSet<u32>,
    /// Brings the area from schema `{from}` to `{to}`, forward or back, however many numbers lie between them.
    /// Idempotent, re-runnable. It meets whatever schemas the version that wrote `{from}` reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Vec<String>>,
    /// Whether it holds keys or other secrets: then `paths` never enter a shadow, and leave this machine encrypted only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub secret: bool,
    /// Where a secret area lies, below the state directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<StatePath>,
}

/// How many of each an area may list.
const MANY: usize = 64;

impl AreaSpec {
    /// Whether a version with this area reads data of `schema` as it is.
    pub fn reads(&self, schema: u32) -> bool {
        schema == self.schema || self.reads.contains(&schema)
    }

    pub(super) fn check(&self) -> Result<(), BadNode> {
        if self.schema == 0 || self.reads.contains(&0) {
            return Err(BadNode::Range("schema versions begin at 1"));
        }
        if self.reads.len() > MANY || self.paths.len() > MANY {
            return Err(BadNode::Range("an area lists at most 64 schemas and 64 paths"));
        }
        if self.secret == self.paths.is_empty() {
            return Err(BadNode::Range("areas: `secret = true` and `paths` go together"));
        }
        Ok(())
    }
}

/// A path below the state directory, and everything below that. `*` stands for any characters of one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatePath(String);

/// A text that is no path below a state directory.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "{0:?} is not a path below the state directory (names with /, * within a name; at most 256 bytes)"
)]
pub struct BadStatePath(String);

impl FromStr for StatePath {
    type Err = BadStatePath;

    fn from_str(text: &str) -> Result<Self, BadStatePath> {
        let names = text.split('/').all(|name| !name.is_empty() && name != "." && name != "..");
        if names && text.len() <= 256 && !text.contains(['\0', '\n']) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadStatePath(text.chars().take(80).collect()))
        }
    }
}

impl TryFrom<String> for StatePath {
    type Error = BadStatePath;

    fn try_from(text: String) -> Result<Self, BadStatePath> {
        text.parse()
    }
}

impl From<StatePath> for String {
    fn from(path: StatePath) -> Self {
        path.0
    }
}

impl fmt::Display for StatePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StatePath {
    /// Whether it means `path`, given as bytes with `/` between names, or something above it.
    pub fn covers(&self, path: &[u8]) -> bool {
        let mut names = path.split(|byte| *byte == b'/');
        self.0.split('/').all(|wanted| names.next().is_some_and(|n| matches(wanted.as_bytes(), n)))
    }
}

/// Whether a name is as the pattern wants it. The last `*` passed is the only one that ever needs to take more.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, n) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_what_it_names_and_everything_below() {
        let covers = |pattern: &str, path: &str| {
            pattern.parse::<StatePath>().unwrap().covers(path.as_bytes())
        };
        for (pattern, path, wanted) in [
            ("keys", "keys", true),
            ("keys", "keys/a/b", true),
            ("keys", "keys2", false),
            ("keys/a", "keys", false),
            ("*.pem", "node.pem", true),
            ("*.pem", "tls/node.pem", false),
            ("*/*.pem", "tls/node.pem", true),
            ("tls/*-key*", "tls/my-key-key.old", true),
            ("tls/*-key*", "tls/my.key", false),
            ("a*b*c", "abbbcbc", true),
            ("a*b*c", "abbbcb", false),
        ] {
            assert_eq!(covers(pattern, path), wanted, "{pattern} {path}");
        }
        assert!("*".parse::<StatePath>().unwrap().covers(b"\xff"));
    }

    #[test]
    fn a_path_that_leads_out_of_the_state_is_no_path() {
        for bad in ["", "/etc/shadow", "../x", "a/../b", "a//b", "a/", "./a", "a\0"] {
            assert!(bad.parse::<StatePath>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(257).parse::<StatePath>().is_err());
    }

    #[test]
    fn secrets_say_where_they_lie_and_schemas_begin_at_one() {
        let area = |json: serde_json::Value| {
            serde_json::from_value::<AreaSpec>(json).unwrap().check().is_ok()
        };
        assert!(area(serde_json::json!({ "schema": 3, "reads": [1, 2] })));
        assert!(area(serde_json::json!({ "schema": 1, "secret": true, "paths": ["keys"] })));
        for bad in [
            serde_json::json!({ "schema": 0 }),
            serde_json::json!({ "schema": 1, "reads": [0] }),
            serde_json::json!({ "schema": 1, "secret": true }),
            serde_json::json!({ "schema": 1, "paths": ["keys"] }),
        ] {
            assert!(!area(bad.clone()), "{bad}");
        }
    }
}
