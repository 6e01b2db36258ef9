//! `checkpoint`: a consistent copy of the state, whether the node runs or not.
//!
//! Why it is consistent without asking the node: the counters are read first, as one whole file; they count only records
//! that were in the log before. The log only grows, so any run of whole frames from its beginning is the log as it was
//! at some moment, and read afterwards it holds every record that the counters counted. What the counters lack is
//! counted from the log when the copy is opened. A migration in between is seen by the schemas and fails the copy.
//! `values/SCHEMA` is written last: a copy without it is refused.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::failure::{BUSY, Failure, INPUT, OrFail, Outcome, answer};
use crate::state::{
    Area, Counters, Frames, Next, Schema, create_with, replace, seal, sync_directory,
};

/// Copies a state to an empty directory.
pub(crate) struct Checkpoint {
    pub(crate) state: PathBuf,
    pub(crate) to: PathBuf,
}

impl Checkpoint {
    pub(crate) fn run(self) -> Outcome<()> {
        let before = schemas(&self.state)?;
        self.prepare()?;
        let [values, counters] = [&before.0, &before.1].map(|schema| schema.number);
        let counts = Counters::read(&Area::Counters.data(&self.state, counters))?;
        let bytes = copy_log(
            &Area::Values.data(&self.state, values),
            &Area::Values.data(&self.to, values),
        )?;
        let text = counts.to_text();
        replace(&Area::Counters.data(&self.to, counters), text.as_bytes())?;
        if schemas(&self.state)? != before {
            return Err(Failure::new(
                BUSY,
                "the state was migrated while it was copied; try again",
            ));
        }
        for (area, schema) in [(Area::Counters, &before.1), (Area::Values, &before.0)] {
            schema.copy(area, &self.to)?;
        }
        sync_directory(&self.to)?;
        answer(&format!("{} holds a copy: {bytes} bytes of log", self.to.display()));
        Ok(())
    }

    /// The destination, empty, with the areas' directories.
    fn prepare(&self) -> Outcome<()> {
        let to = self.to.display();
        fs::create_dir_all(&self.to).or_fail(format_args!("create {to}"))?;
        let mut entries = fs::read_dir(&self.to).or_fail(format_args!("read {to}"))?;
        if entries.next().is_some() {
            return Err(Failure::new(INPUT, format!("{to} is not empty; nothing was changed")));
        }
        for area in [Area::Values, Area::Counters] {
            fs::create_dir(area.directory(&self.to)).or_fail(format_args!("create {to}"))?;
        }
        Ok(())
    }
}

fn schemas(state: &Path) -> Outcome<(Schema, Schema)> {
    let read = |area| {
        let schema = Schema::expect(area, state)?;
        schema.readable(area)?;
        Ok(schema)
    };
    Ok((read(Area::Values)?, read(Area::Counters)?))
}

/// Copies the intact frames; returns their bytes.
fn copy_log(from: &Path, to: &Path) -> Outcome<u64> {
    let name = from.display().to_string();
    let file = File::open(from).or_fail(format_args!("open {name}"))?;
    let mut frames = Frames::new(file, name)?;
    create_with(to, |copy| {
        while let Next::Frame(payload) = frames.advance()? {
            copy.write_all(&seal(&payload)).or_fail("write the copy")?;
        }
        Ok(())
    })?;
    Ok(frames.intact())
}
