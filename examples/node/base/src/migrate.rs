//! `migrate`: one area from one schema to another, forward or back.
//!
//! The new data file is written beside the old one and read back; then `SCHEMA` is replaced, which is the commit; then
//! the old file goes. Killed anywhere, it is simply run again. Areas do not know each other's schema, so their order is free.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, INPUT, OrFail, Outcome, answer};
use crate::release;
use crate::state::{Area, Change, Log, Records, Schema, State, create_with, seal, sync_directory};

/// Migrates an area of a state that no node serves.
pub(crate) struct Migrate {
    pub(crate) area: Area,
    pub(crate) state: PathBuf,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

impl Migrate {
    pub(crate) fn run(self) -> Outcome<()> {
        let Self { area, from, to, .. } = self;
        let state = State::hold(&self.state)?;
        let found = Schema::expect(area, state.path())?;
        found.readable(area)?;
        if let Some(unknown) = [from, to].into_iter().find(|n| !(1..=area.known()).contains(n)) {
            return Err(Failure::new(
                INPUT,
                format!(
                    "this release knows schemas 1 to {} of the area {area}, not {unknown}; migrate with the release \
                     that brought it",
                    area.known()
                ),
            ));
        }
        if found.number == to {
            // Done before, perhaps by a run that was killed before it could tidy up.
            tidy(area, state.path(), to)?;
            answer(&format!("{area} has schema {to}"));
            return Ok(());
        }
        if found.number != from {
            return Err(Failure::new(
                INPUT,
                format!(
                    "the area {area} has schema {}, not {from}; nothing was changed",
                    found.number
                ),
            ));
        }
        let records = match area {
            Area::Values => rewrite_values(state.path(), from, to)?,
            Area::Counters => {
                let sentence = format!("there is no way from schema {from} of counters to {to}");
                return Err(Failure::new(INPUT, sentence));
            }
        };
        Schema::commit(area, state.path(), to)?;
        tidy(area, state.path(), to)?;
        answer(&format!("{area} has schema {to}: {records} records rewritten"));
        Ok(())
    }
}

/// Removes data files of other schemas than the committed one: each was read as a whole into it.
fn tidy(area: Area, state: &Path, keep: u32) -> Outcome<()> {
    for schema in (1..=area.known()).filter(|schema| *schema != keep) {
        let stale = area.data(state, schema);
        match fs::remove_file(&stale) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).or_fail(format_args!("remove {}", stale.display())),
        }
    }
    sync_directory(&area.directory(state))
}

/// Writes the log of schema `to`, reads it back, and returns its number of records.
fn rewrite_values(state: &Path, from: u32, to: u32) -> Outcome<u64> {
    let [old, new] = [from, to].map(|schema| Area::Values.data(state, schema));
    let mut records = Records::open(&old, from)?;
    let mut written = 0;
    create_with(&new, |file| {
        let mut payload = Vec::new();
        loop {
            let entry = records.advance()?;
            // Records of the newer schema are longer: frames are filled anew.
            if !payload.is_empty() && (entry.is_none() || payload.len() >= Log::BATCH_IS_FULL) {
                file.write_all(&seal(&payload)).or_fail(format_args!("write {}", new.display()))?;
                payload.clear();
            }
            let Some(mut entry) = entry else { return Ok(()) };
            if let Change::Put(value) = &mut entry.change {
                release::on_migrated(value);
            }
            entry.encode(to, &mut payload);
            written += 1;
        }
    })?;
    let mut read_back = Records::open(&new, to)?;
    let mut found = 0;
    while read_back.advance()?.is_some() {
        found += 1;
    }
    if found == written {
        return Ok(found);
    }
    Err(Failure::new(
        INPUT,
        format!("{} reads back {found} records of {written}; the old one stays", new.display()),
    ))
}
