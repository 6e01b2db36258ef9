//! A first recipe for a project, by looking at it. Nothing of the project is run.

mod cargo;
mod make;
mod npm;
mod python;
mod text;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Serialize;

use crate::files;
use crate::recipe::{self, Recipe, RecipeError};

/// Where the steps of a first recipe leave what they install.
const OUT: &str = "countersign-out";
/// Archives of npm and pip keep the modes that files have, which a umask has a say in.
const MODES: &str = "chmod -R u=rwX,go=rX .";
/// Longest project file that is looked at, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A kind of project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `Cargo.toml`.
    Cargo,
    /// `CMakeLists.txt`.
    Cmake,
    /// `package.json`.
    Npm,
    /// `pyproject.toml` or `setup.py`.
    Python,
    /// `configure`, `configure.ac` or `autogen.sh`.
    Autotools,
    /// A makefile alone.
    Make,
}

impl Kind {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cargo => "Cargo",
            Self::Cmake => "CMake",
            Self::Npm => "npm",
            Self::Python => "Python",
            Self::Autotools => "Autotools",
            Self::Make => "Make",
        }
    }
}

/// What was decided for a project.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its name, as a product.
    pub product: String,
    /// Its version.
    pub version: String,
    /// Sets of tools.
    pub tools: Vec<&'static str>,
    /// Debian packages.
    pub packages: Vec<String>,
    /// What is run.
    pub steps: Vec<String>,
    /// The list of inputs: its field in `[build]`, and the file.
    pub list: Option<(&'static str, String)>,
    /// Further inputs: path in the source, and package.
    pub inputs: Vec<(String, String)>,
    /// Path in the artifact, and in the source directory.
    pub outputs: Vec<(String, String)>,
    /// What was guessed, or is missing, for people.
    pub notes: Vec<String>,
}

/// Why there is no first recipe.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is a recipe already.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// Nothing tells what it is.
    #[error("{0} holds no project of a kind that is known here")]
    Unknown(PathBuf),
    /// A file of the project does not say what it should.
    #[error("cannot read {path}: {what}")]
    Project {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// What was found makes no recipe.
    #[error("what was found makes no recipe")]
    Recipe(#[from] RecipeError),
    /// It cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The recipe.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Looks at a project.
///
/// # Errors
/// Nothing tells what it is, or a file of it cannot be read.
pub fn look(dir: &Path) -> Result<Found, InitError> {
    let has = |name: &str| dir.join(name).is_file();
    if has("Cargo.toml") {
        cargo::look(dir)
    } else if has("CMakeLists.txt") {
        make::cmake(dir)
    } else if has("package.json") {
        npm::look(dir)
    } else if has("pyproject.toml") || has("setup.py") {
        python::look(dir)
    } else if has("configure") || has("configure.ac") || has("autogen.sh") {
        make::autotools(dir)
    } else if has("Makefile") || has("makefile") || has("GNUmakefile") {
        make::make(dir)
    } else {
        Err(InitError::Unknown(dir.to_owned()))
    }
}

/// Writes a first recipe into `dir`.
///
/// # Errors
/// There is one, or it cannot be written.
pub fn write(found: &Found, dir: &Path) -> Result<PathBuf, InitError> {
    let path = dir.join(recipe::FILE);
    let text = text::recipe(found);
    Recipe::parse(text.clone().into_bytes(), recipe::FILE)?;
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(path.clone()),
        _ => InitError::Write { path: path.clone(), source },
    };
    let mut file = File::options().write(true).create_new(true).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(path)
}

impl Found {
    fn new(kind: Kind, dir: &Path) -> Self {
        let mut this = Self {
            kind,
            product: String::new(),
            version: "0.1.0".to_owned(),
            tools: vec!["c"],
            packages: Vec::new(),
            steps: Vec::new(),
            list: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            notes: Vec::new(),
        };
        let real = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
        let name = real.file_name().unwrap_or_default().to_string_lossy().into_owned();
        this.call(&name);
        this
    }

    /// Takes a name, as far as it can be a product's.
    fn call(&mut self, name: &str) {
        let plain = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
        let plain: String = plain
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
            .collect();
        let plain = plain.trim_start_matches(|c: char| !c.is_ascii_lowercase());
        let plain: String = plain.trim_end_matches('-').chars().take(64).collect();
        self.product = if plain.is_empty() { "thing".to_owned() } else { plain };
    }

    /// Takes a version, as far as it can be a semantic one.
    fn versioned(&mut self, version: Option<&str>) {
        let three = |text: &str| {
            let mut numbers: Vec<String> = text
                .trim_start_matches('v')
                .split('.')
                .map_while(|part| part.parse::<u64>().ok().map(|n| n.to_string()))
                .take(3)
                .collect();
            let some = !numbers.is_empty();
            numbers.resize(3, "0".to_owned());
            some.then(|| numbers.join("."))
        };
        let whole = version.filter(|text| text.parse::<countersign_metadata::Version>().is_ok());
        match whole.map(str::to_owned).or_else(|| version.and_then(three)) {
            Some(found) => {
                if version.is_some_and(|text| text != found) {
                    self.notes.push(format!("its version {version:?} was written as {found}"));
                }
                self.version = found;
            }
            None => self.notes.push("no version was found: 0.1.0 stands for it".to_owned()),
        }
    }

    fn step(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    fn output(&mut self, to: impl Into<String>, from: impl Into<String>) {
        self.outputs.push((to.into(), from.into()));
    }

    /// Needs the Debian package that brings a program of this machine; `otherwise` where none does.
    fn program(&mut self, program: &str, otherwise: &str) {
        let output = Command::new("dpkg-query").args(["-S", program]).output();
        let stdout = output.map(|o| o.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&stdout);
        let owner = text.split(':').next().unwrap_or_default().trim();
        let package = if owner.is_empty() || owner.contains(' ') { otherwise } else { owner };
        if !self.packages.iter().any(|p| p == package) {
            self.packages.push(package.to_owned());
        }
    }
}

fn read(path: &Path) -> Result<String, InitError> {
    let bytes = files::read_limited(path, MAX_FILE)
        .map_err(|e| InitError::Project { path: path.to_owned(), what: e.to_string() })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn read_toml(path: &Path) -> Result<toml::Table, InitError> {
    read(path)?.parse().map_err(|e: toml::de::Error| InitError::Project {
        path: path.to_owned(),
        what: e.message().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Found {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let found = look(dir.path()).unwrap();
        write(&found, dir.path()).unwrap();
        Recipe::read(dir.path()).unwrap();
        assert!(matches!(write(&found, dir.path()), Err(InitError::Exists(_))));
        found
    }

    #[test]
    fn a_cargo_project_is_read_with_its_programs() {
        let found = found(&[
            (
                "Cargo.toml",
                "[package]\nname = \"My_Tool\"\nversion = \"1.2.3\"\n[[bin]]\nname = \"two\"\n",
            ),
            ("src/main.rs", ""),
            ("src/bin/three.rs", ""),
            ("Cargo.lock", ""),
        ]);
        assert_eq!(
            (found.kind, &*found.product, &*found.version),
            (Kind::Cargo, "my_tool", "1.2.3")
        );
        let names: Vec<&str> = found.outputs.iter().map(|(to, _)| &**to).collect();
        assert_eq!(names, ["bin/My_Tool", "bin/three", "bin/two"]);
        assert_eq!(found.list, Some(("cargo-lock", "Cargo.lock".to_owned())));
    }

    #[test]
    fn a_workspace_is_read_with_its_members() {
        let found = found(&[
            (
                "Cargo.toml",
                "[workspace]\nmembers = [\"crates/*\"]\n[workspace.package]\nversion = \"2.0.0\"\n",
            ),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\nversion = { workspace = true }\n"),
            ("crates/a/src/main.rs", ""),
            ("crates/b/Cargo.toml", "[package]\nname = \"b\"\nversion = \"0.1.0\"\n"),
            ("crates/b/src/lib.rs", ""),
        ]);
        assert_eq!(found.version, "2.0.0");
        assert_eq!(found.outputs, [("bin/a".to_owned(), "target/release/a".to_owned())]);
        assert!(found.notes.iter().any(|note| note.contains("Cargo.lock")));
    }

    #[test]
    fn c_projects_are_told_apart() {
        let installed = found(&[("Makefile", "all: x\ninstall: all\n\tcp x $(DESTDIR)/usr/bin\n")]);
        assert_eq!(installed.kind, Kind::Make);
        assert!(installed.steps.iter().any(|step| step.contains("make install DESTDIR=")));
        let plain = found(&[("Makefile", "TARGET = prog\n$(TARGET): prog.c\n\tcc -o $@ $<\n")]);
        assert_eq!(plain.outputs, [("bin/prog".to_owned(), "prog".to_owned())]);
        let auto = found(&[("configure.ac", "AC_INIT([thing], [1.4])\n"), ("Makefile.am", "")]);
        assert_eq!(
            (auto.kind, &*auto.product, &*auto.version),
            (Kind::Autotools, "thing", "1.4.0")
        );
        assert!(auto.packages.contains(&"automake".to_owned()));
        let cmake = found(&[(
            "CMakeLists.txt",
            "project(Thing VERSION 1.2 LANGUAGES C)\nadd_executable(tool a.c)\n",
        )]);
        assert_eq!((cmake.kind, &*cmake.version), (Kind::Cmake, "1.2.0"));
        assert_eq!(cmake.outputs, [("bin/tool".to_owned(), "build/tool".to_owned())]);
    }

    #[test]
    fn npm_and_python_projects_are_read() {
        let npm = found(&[
            (
                "package.json",
                r#"{"name":"@s/x","version":"1.0.0","scripts":{"build":"b"},"dependencies":{"a":"1"}}"#,
            ),
            ("package-lock.json", "{}"),
        ]);
        assert_eq!((npm.kind, &*npm.product), (Kind::Npm, "x"));
        assert!(npm.steps[2].ends_with("npm ci"));
        assert!(npm.inputs[0].1.starts_with("npm:npm@"));
        assert_eq!(npm.outputs[0].1, "countersign-out/s-x-1.0.0.tgz");
        let python = found(&[(
            "pyproject.toml",
            "[build-system]\nrequires = [\"setuptools>=61\"]\n[project]\nname = \"x\"\nversion = \"1.0\"\n",
        )]);
        assert_eq!((python.kind, &*python.version), (Kind::Python, "1.0.0"));
        assert!(python.packages.contains(&"python3-setuptools".to_owned()));
    }
}
