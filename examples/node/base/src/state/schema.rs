//! Areas of state, and the `SCHEMA` file that says how each is written.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::durable::replace;
use crate::failure::{Failure, HOST, INPUT, Outcome};
use crate::release;

/// A part of the state with its own schema version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Area {
    /// What was put.
    Values,
    /// Statistics about it.
    Counters,
}

impl Area {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Values, Self::Counters].into_iter().find(|area| area.name() == name)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Values => "values",
            Self::Counters => "counters",
        }
    }

    /// The newest schema that this release knows: the one it serves.
    pub(crate) fn known(self) -> u32 {
        match self {
            Self::Values => release::VALUES_SCHEMA,
            Self::Counters => release::COUNTERS_SCHEMA,
        }
    }

    pub(crate) fn directory(self, state: &Path) -> PathBuf {
        state.join(self.name())
    }

    /// The area's one data file. Its name holds the schema, so a migration never writes over what it reads.
    pub(crate) fn data(self, state: &Path, schema: u32) -> PathBuf {
        let stem = match self {
            Self::Values => "log",
            Self::Counters => "counts",
        };
        self.directory(state).join(format!("{stem}.{schema}"))
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a `SCHEMA` file says: `2 written by examplenode 2.0.0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) number: u32,
    writer: String,
}

impl Schema {
    /// Reads it; `None` when the area has none.
    pub(crate) fn read(area: Area, state: &Path) -> Outcome<Option<Self>> {
        let path = area.directory(state).join("SCHEMA");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(Failure::new(HOST, format!("cannot read {}: {error}", path.display())));
            }
        };
        let parsed = text.trim_end().split_once(" written by ").and_then(|(number, writer)| {
            Some(Self { number: number.parse().ok()?, writer: writer.to_owned() })
        });
        parsed.map(Some).ok_or_else(|| {
            Failure::new(INPUT, format!("{} does not begin with a schema number", path.display()))
        })
    }

    /// Declares that the area is written in `schema`: the commit point of creating or migrating it.
    pub(crate) fn commit(area: Area, state: &Path, schema: u32) -> Outcome<()> {
        let writer = format!("examplenode {}", release::VERSION);
        Self { number: schema, writer }.copy(area, state)
    }

    /// Declares the same of a copy.
    pub(crate) fn copy(&self, area: Area, state: &Path) -> Outcome<()> {
        let text = format!("{} written by {}\n", self.number, self.writer);
        replace(&area.directory(state).join("SCHEMA"), text.as_bytes())
    }

    /// Refuses a schema that this release cannot read, and names the one that can.
    pub(crate) fn readable(&self, area: Area) -> Outcome<()> {
        if (1..=area.known()).contains(&self.number) {
            return Ok(());
        }
        Err(Failure::new(
            INPUT,
            format!(
                "the area {area} has schema {}, and examplenode {} knows schemas up to {}; {} wrote it and can \
                 open it, or bring it back with: migrate --area {area} --from {} --to {}",
                self.number,
                release::VERSION,
                area.known(),
                self.writer,
                self.number,
                area.known(),
            ),
        ))
    }

    /// Refuses to serve any schema but the newest known. Migrating is a verb, never a side effect of starting.
    pub(crate) fn served(&self, area: Area) -> Outcome<()> {
        self.readable(area)?;
        if self.number == area.known() {
            return Ok(());
        }
        Err(Failure::new(
            INPUT,
            format!(
                "the area {area} has schema {}, and examplenode {} serves schema {}; migrate it first: \
                 migrate --area {area} --from {} --to {}",
                self.number,
                release::VERSION,
                area.known(),
                self.number,
                area.known(),
            ),
        ))
    }

    /// The area's schema, which must be there.
    pub(crate) fn expect(area: Area, state: &Path) -> Outcome<Self> {
        Self::read(area, state)?
            .ok_or_else(|| Failure::new(INPUT, format!("{} holds no area {area}", state.display())))
    }
}
