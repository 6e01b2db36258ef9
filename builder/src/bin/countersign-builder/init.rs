//! `init`: a first recipe for the project in a directory, by looking at it.

use std::path::PathBuf;

use countersign_builder::init::{self, InitError};
use countersign_console::{Exit, Failure, Out};
use serde_json::json;

/// Write a first countersign.toml
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Knows Cargo, CMake, npm, Python, Autotools and Make projects. Nothing of the project is run, and a
recipe that is there already is left alone.

Example:
  countersign-builder init . && countersign-builder lock . && countersign-builder build . -o built")]
pub(super) struct Args {
    /// The project's directory
    #[arg(default_value = ".")]
    dir: PathBuf,
}

impl Args {
    pub(super) fn run(self, out: Out) -> Result<Exit, Failure> {
        let told = |error: InitError| {
            let exit = match error {
                InitError::Write { .. } => Exit::Host,
                _ => Exit::Input,
            };
            let failure = Failure::caused(exit, "no recipe was written", &error);
            match error {
                InitError::Exists(_) => failure.hint("edit it, or move it away first"),
                InitError::Unknown(_) => failure.hint(
                    "it looks for Cargo.toml, CMakeLists.txt, package.json, pyproject.toml, setup.py, \
                     configure and Makefile; docs/formats.md has an example to write by hand",
                ),
                _ => failure,
            }
        };
        let found = init::look(&self.dir).map_err(told)?;
        let path = init::write(&found, &self.dir).map_err(told)?;
        out.say(format!("wrote {}", path.display()));
        out.say(format!("a {} project: {} {}", found.kind.name(), found.product, found.version));
        for step in &found.steps {
            out.say(format!("  step    {step}"));
        }
        if let Some((_, file)) = &found.list {
            out.say(format!("  inputs  {file}"));
        }
        for (_, package) in &found.inputs {
            out.say(format!("  inputs  {package}"));
        }
        for (to, from) in &found.outputs {
            out.say(format!("  output  {to} (from {from})"));
        }
        for note in &found.notes {
            out.say(format!("note: {note}"));
        }
        out.say("next: look through it, then countersign-builder lock");
        out.json(&json!({ "recipe": path, "found": found }));
        Ok(Exit::Done)
    }
}
