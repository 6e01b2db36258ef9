//! Opening the state: from what is on disk to what is served.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::frames::MAX_PAYLOAD;
use super::values::MAX_RECORD;
use super::{Area, Counters, Records, Schema, State, Values, replace, seal, sync_directory};
use crate::failure::{Failure, INPUT, OrFail, Outcome, tell};

/// The state of a node, open for writing.
pub(crate) struct Store {
    pub(crate) values: Values,
    pub(crate) counters: Counters,
    pub(crate) log: Log,
}

impl Store {
    /// Opens the state, or creates it in a directory that has none.
    pub(crate) fn open(state: &State) -> Outcome<Self> {
        let path = state.path();
        if Schema::read(Area::Values, path)?.is_none() {
            create(path)?;
        }
        Schema::expect(Area::Values, path)?.served(Area::Values)?;
        Schema::expect(Area::Counters, path)?.served(Area::Counters)?;
        let mut counters = Counters::read(&counts(path))?;
        let (log, values) = Log::open(path, &mut counters)?;
        Ok(Self { values, counters, log })
    }
}

/// Creates both areas. `values/SCHEMA` comes last: a killed attempt is simply repeated.
fn create(path: &Path) -> Outcome<()> {
    refuse_remains(path)?;
    for area in [Area::Values, Area::Counters] {
        let directory = area.directory(path);
        fs::create_dir_all(&directory).or_fail(format_args!("create {}", directory.display()))?;
    }
    replace(&counts(path), Counters::default().to_text().as_bytes())?;
    Schema::commit(Area::Counters, path, Area::Counters.known())?;
    replace(&Area::Values.data(path, Area::Values.known()), &[])?;
    Schema::commit(Area::Values, path, Area::Values.known())?;
    sync_directory(path)
}

/// Data without `values/SCHEMA` is a copy that was never finished: not ours to write over.
fn refuse_remains(path: &Path) -> Outcome<()> {
    let values = Area::Values.directory(path);
    let data = fs::read_dir(&values)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.metadata().is_ok_and(|found| found.len() > 0));
    let counted =
        Schema::read(Area::Counters, path)?.is_some() && Counters::read(&counts(path))?.records > 0;
    if data || counted {
        return Err(Failure::new(
            INPUT,
            format!(
                "{} holds data but no {}/SCHEMA: a copy that was never finished; nothing was changed",
                path.display(),
                values.display()
            ),
        ));
    }
    Ok(())
}

fn counts(path: &Path) -> PathBuf {
    Area::Counters.data(path, Area::Counters.known())
}

/// The open log: the only thing that makes a write durable.
pub(crate) struct Log {
    file: File,
    counts: PathBuf,
}

impl Log {
    /// A batch that holds at least this many bytes takes no further record.
    pub(crate) const BATCH_IS_FULL: usize = MAX_PAYLOAD - MAX_RECORD;

    /// Replays the log and counts what the counters lack.
    fn open(state: &Path, counters: &mut Counters) -> Outcome<(Self, Values)> {
        let schema = Area::Values.known();
        let path = Area::Values.data(state, schema);
        let name = path.display().to_string();
        let file = File::options().append(true).open(&path).or_fail(format_args!("open {name}"))?;
        let mut log = Records::open(&path, schema)?;
        let mut values = Values::default();
        let counted = counters.records;
        let mut records = 0;
        while let Some(entry) = log.advance()? {
            records += 1;
            if records > counted {
                counters.count(&entry.key);
            }
            values.apply(entry);
        }
        if records < counted {
            return Err(Failure::new(
                INPUT,
                format!(
                    "{name} holds {records} records, but the counters have counted {counted}: the areas are not \
                     of the same copy; nothing was changed"
                ),
            ));
        }
        let (intact, unfinished) = log.ends();
        if unfinished > 0 {
            tell(&format!(
                "{name} ends in {unfinished} bytes of a write that was never acknowledged; dropped"
            ));
            file.set_len(intact)
                .and_then(|()| file.sync_all())
                .or_fail(format_args!("cut {name}"))?;
        }
        Ok((Self { file, counts: counts(state) }, values))
    }

    /// Appends one batch of whole records and returns when it is on disk.
    pub(crate) fn append(&mut self, payload: &[u8]) -> Outcome<()> {
        self.file
            .write_all(&seal(payload))
            .and_then(|()| self.file.sync_data())
            .or_fail("write the log")
    }

    /// Writes the counters. Everything that they have counted must have been appended before.
    pub(crate) fn save(&self, counters: &Counters) -> Outcome<()> {
        replace(&self.counts, counters.to_text().as_bytes())
    }
}
