//! `countersign.toml`: what the author wrote. Read, then validated; nothing unvalidated leaves this folder.
//!
//! ```toml
//! product = "examplenode"
//! version = "1.0.0"
//!
//! [source]
//! kind = "directory"            # or "git", "archive", "debian", "package"
//!
//! [environment]
//! kind = "host"
//! tools = ["rust", "c"]
//! packages = []                 # further packages of the machine, by name
//!
//! [build]
//! steps = ["cargo build --release --offline --locked"]
//! cargo-lock = ["Cargo.lock"]
//!
//! [outputs]
//! "bin/examplenode" = "target/release/examplenode"
//!
//! [node]                        # countersign_metadata::node
//! ```

mod check;
mod origins;
mod place;
mod spec;

use std::path::{Path, PathBuf};

use countersign_metadata::Sha256;

pub use spec::{
    BuildSpec, ClockSpec, EnvironmentSpec, InputSpec, LimitsSpec, RandomSpec, RecipeSpec,
    SourceSpec, Tool,
};

/// The recipe's file name.
pub const FILE: &str = "countersign.toml";
/// Longest recipe, in bytes.
pub const MAX_LENGTH: u64 = 1 << 20;

/// A recipe, validated, with the digest of its exact bytes.
#[derive(Clone, Debug)]
pub struct Recipe {
    spec: RecipeSpec,
    bytes: Vec<u8>,
    sha256: Sha256,
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// There is none.
    #[error("there is no recipe {0}")]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The recipe.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a recipe must be.
    #[error("{file}:{line}: {what}")]
    Malformed {
        /// The recipe.
        file: String,
        /// Counted from 1.
        line: usize,
        /// The field and what is wrong with it.
        what: String,
    },
}

impl Recipe {
    /// Reads `DIR/countersign.toml`.
    ///
    /// # Errors
    /// It is missing, unreadable or malformed.
    pub fn read(dir: &Path) -> Result<Self, RecipeError> {
        let path = dir.join(FILE);
        let bytes = match crate::files::read_limited(&path, MAX_LENGTH) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(RecipeError::Missing(path));
            }
            Err(source) => return Err(RecipeError::Read { path, source }),
        };
        Self::parse(bytes, &path.display().to_string())
    }

    /// Parses and validates a recipe. `file` is what errors call it.
    ///
    /// # Errors
    /// It is malformed; the error names file, line and field.
    pub fn parse(bytes: Vec<u8>, file: &str) -> Result<Self, RecipeError> {
        let malformed = |line, what| RecipeError::Malformed { file: file.to_owned(), line, what };
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            malformed(line, "it is not UTF-8".to_owned())
        })?;
        let spec: RecipeSpec = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| place::line_at(text, span.start));
            malformed(line, e.message().to_owned())
        })?;
        check::check(&spec).map_err(|e| {
            malformed(place::line_of(text, &e.field), format!("{}: {}", e.field.join("."), e.rule))
        })?;
        let sha256 = Sha256::of(&bytes);
        Ok(Self { spec, bytes, sha256 })
    }

    /// What it says.
    pub fn spec(&self) -> &RecipeSpec {
        &self.spec
    }

    /// Its exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of its exact bytes.
    pub fn sha256(&self) -> &Sha256 {
        &self.sha256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"product = "thing"
version = "1.0.0"

[source]
kind = "directory"

[environment]
kind = "host"
tools = ["c"]

[build]
steps = ["make"]

[outputs]
"bin/thing" = "thing"
"#;

    fn error(text: &str) -> String {
        Recipe::parse(text.as_bytes().to_vec(), "countersign.toml").unwrap_err().to_string()
    }

    #[test]
    fn a_recipe_is_read_with_its_defaults() {
        let recipe = Recipe::parse(GOOD.as_bytes().to_vec(), "x").unwrap();
        assert_eq!(recipe.spec().build.source_date_epoch, 1_767_225_600);
        assert_eq!(recipe.spec().build.cpus, 2);
        assert_eq!(*recipe.sha256(), Sha256::of(GOOD.as_bytes()));
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let text = error(&GOOD.replace("steps", "stepps"));
        assert!(text.starts_with("countersign.toml:12: "), "{text}");
        assert!(text.contains("stepps"), "{text}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_file_line_and_field() {
        let cases = [
            ("steps = [\"make\"]", "steps = []", "countersign.toml:12: build.steps"),
            ("\"thing\"\n\n[source]", "\"thing\"\n\n[source]", ""),
            ("\"bin/thing\" = \"thing\"", "\"../x\" = \"thing\"", "../x"),
            ("\"bin/thing\" = \"thing\"", "bin = \"a\"\n\"bin/x\" = \"b\"", "outputs"),
            (
                "steps = [\"make\"]",
                "steps = [\"make\"]\ncpus = 0",
                "countersign.toml:13: build.cpus",
            ),
            (
                "steps = [\"make\"]",
                "steps = [\"make\"]\nenvironment = { HOME = \"/\" }",
                "countersign.toml:13: build.environment.HOME",
            ),
            ("tools = [\"c\"]", "tools = [\"fortran\"]", "countersign.toml:9: "),
            ("\"directory\"", "\"npm\"", "npm"),
        ];
        for (from, to, want) in cases {
            let changed = GOOD.replace(from, to);
            if changed == GOOD {
                continue;
            }
            let text = error(&changed);
            assert!(text.contains(want), "{to}: {text}");
        }
    }

    #[test]
    fn a_node_whose_program_no_output_provides_is_refused() {
        let with = |p: &str| format!("{GOOD}\n[node]\ncommand = [\"{p}\"]\n");
        assert!(Recipe::parse(with("bin/thing").into_bytes(), "x").is_ok());
        assert!(error(&with("bin/other")).contains("node.command"));
    }
}
