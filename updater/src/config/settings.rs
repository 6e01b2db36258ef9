//! Every setting with its value and where that comes from: what `countersign-updater config` shows.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::layers::{Layers, places};
use super::{ConfigError, written};
use crate::Home;

/// One setting of a validated configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// Its dotted key: `shadow.for`.
    pub key: String,
    /// Its value as it is written; `null`: there is none.
    pub value: Value,
    /// Where it was written; `None`: it is the default.
    pub from: Option<Place>,
}

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
}

/// Every file that counts, in its order, and every setting.
///
/// # Errors
/// As [`super::Config::load`]: what is shown is valid.
pub fn settings(home: &Home) -> Result<(Vec<PathBuf>, Vec<Setting>), ConfigError> {
    of(&Layers::read(home)?)
}

pub(super) fn of(layers: &Layers) -> Result<(Vec<PathBuf>, Vec<Setting>), ConfigError> {
    let source = written::Source { layers };
    let placed = places(&source.table()?);
    let written = source.parse()?;
    let keys = leaves(as_json(&written));
    let merged = written.merge(&source)?;
    let defaults = leaves(as_json(&merged));
    merged.validate(&source)?;
    let settings = keys.into_iter().map(|(key, value)| {
        let from = placed.get(&key).map(|place| {
            let (file, line) = layers.line(*place);
            Place { file, line }
        });
        let default = || defaults.iter().find(|(name, _)| flat(name) == flat(&key));
        let value = match value {
            Value::Null => default().map(|(_, value)| value.clone()).unwrap_or_default(),
            value => value,
        };
        Setting { key, value, from }
    });
    Ok((layers.files().cloned().collect(), settings.collect()))
}

/// What is written as `shadow.for` is merged as `shadow_for`.
fn flat(key: &str) -> String {
    key.replace(['.', '-'], "_")
}

fn as_json(value: &impl Serialize) -> Value {
    // Text, numbers and lists under keys of text: that cannot fail.
    serde_json::to_value(value).unwrap_or_default()
}

/// Every value that is no table, by its dotted key.
fn leaves(value: Value) -> Vec<(String, Value)> {
    fn collect(above: &str, value: Value, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    let dotted = if above.is_empty() { key } else { format!("{above}.{key}") };
                    collect(&dotted, value, found);
                }
            }
            value => found.push((above.to_owned(), value)),
        }
    }
    let mut found = Vec::new();
    collect("", value, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_shown_with_its_default() {
        let text =
            "product = \"p\"\nrepositories = [\"file:///r\"]\n[listen]\nhttp = \"127.0.0.1:1\"";
        let (_, settings) = of(&Layers::one(text, "n.toml".into())).unwrap();
        // These alone may be without a value.
        let none: Vec<_> = settings.iter().filter(|s| s.value.is_null()).map(|s| &s.key).collect();
        let wanted = [
            "backup.credentials",
            "backup.endpoint",
            "backup.password-file",
            "backup.to",
            "policy.pin",
            "policy.reproducers",
            "status.listen",
            "swap.lease",
            "updater",
            "urgent-floor",
        ];
        assert_eq!(
            std::collections::BTreeSet::from_iter(none),
            wanted.map(str::to_owned).iter().collect()
        );
        let find = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!(find("shadow.for").value, "10s");
        assert_eq!(find("probation.crashes").value, 3);
        assert_eq!(find("swap.lease").value, Value::Null, "it has no default");
        assert_eq!(find("policy.reproducers").from, None);
        let place = Place { file: "n.toml".into(), line: 4 };
        assert_eq!(find("listen.http").from, Some(place));
    }
}
