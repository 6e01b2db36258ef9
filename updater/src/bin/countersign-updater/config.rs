//! `config`: every setting of a node, its value, and the file and line that it comes from.

use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Out};
use countersign_updater::config::{Place, settings};
use serde_json::{Value, json};

use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater config /srv/examplenode
      every setting, and where it was written

Settings are read from NODE/countersign-updater.toml, then from NODE/countersign-updater.d/*.toml in the order of their names;
a later one replaces an earlier one. A running agent reads them when it starts.";

/// Show every setting, and the file and line that it comes from
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open(&self.node)?;
        let (files, settings) = settings(&home).map_err(|error| tell::config(&error))?;
        out.table(
            ["Setting", "Value", "From"],
            settings.iter().map(|setting| {
                let from = setting.from.as_ref();
                let from = from.map_or("default".to_owned(), |place| shown(place, home.path()));
                [setting.key.clone(), text(&setting.value), from]
            }),
        );
        out.json(&json!({ "files": files, "settings": settings }));
        Ok(Exit::Done)
    }
}

fn shown(Place { file, line }: &Place, node: &Path) -> String {
    format!("{}:{line}", file.strip_prefix(node).unwrap_or(file).display())
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::Array(values) if values.is_empty() => "(none)".to_owned(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join("\n"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
