//! Off-machine copies: the agent keeps the queue and starts `countersign-backup` when something is due.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use jiff::Timestamp;

use crate::backup::Queue;
use crate::config::Backup;
use crate::durable::{self, DiskError};
use crate::trust_store::chain;
use crate::{Config, Home};

/// A program of its own, beside this one: what it needs, the agent does not carry.
const PROGRAM: &str = "countersign-backup";
/// At this length its log is begun anew, in bytes.
const LONGEST_LOG: u64 = 1 << 20;

/// Looks after the one upload that may be under way.
#[derive(Default)]
pub(super) struct Tender {
    child: Option<Child>,
    told: Option<String>,
}

impl Tender {
    /// Called whenever the agent rests. Nothing here holds an update up: what fails is in the queue, for `status`.
    pub(super) fn tend(&mut self, home: &Home, config: &Config) {
        let Some(backup) = &config.backup else { return };
        if let Err(error) = self.look(home, backup) {
            let reason = chain(&error);
            if self.told.as_ref() != Some(&reason) {
                let _only_a_log = log(home).and_then(|mut log| {
                    io::Write::write_all(&mut log, format!("{reason}\n").as_bytes())
                });
                self.told = Some(reason);
            }
        }
    }

    fn look(&mut self, home: &Home, backup: &Backup) -> Result<(), DiskError> {
        let ended = match self.child.as_mut().map(Child::try_wait) {
            Some(Ok(None)) => None,
            Some(Ok(Some(status))) => Some(status),
            Some(Err(_)) | None => Some(ExitStatus::default()),
        };
        let queue = Queue::update(home, backup, |_| {})?;
        let Some(status) = ended else { return Ok(()) };
        self.child = None;
        if !queue.due(Timestamp::now(), backup) {
            return Ok(());
        }
        let failed = if status.success() {
            self.start(home).err().map(|error| format!("cannot run {PROGRAM}: {error}"))
        } else {
            // It had no time to say why.
            Some(format!("{PROGRAM} ended with {status}"))
        };
        if let Some(reason) = failed {
            Queue::update(home, backup, |queue| queue.failed(&reason, Timestamp::now(), backup))?;
        }
        Ok(())
    }

    fn start(&mut self, home: &Home) -> io::Result<()> {
        let program = std::env::current_exe()?.with_file_name(PROGRAM);
        let output = log(home)?;
        let errors = output.try_clone()?;
        let child = Command::new(program)
            .arg("now")
            .arg(home.path())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // What ends the agent does not end an upload that is under way.
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }
}

fn log(home: &Home) -> io::Result<File> {
    let path = home.log().join("backup.log");
    if fs::metadata(&path).is_ok_and(|meta| meta.len() > LONGEST_LOG) {
        return File::create(&path);
    }
    durable::append_to(&path).map_err(|error| io::Error::new(error.kind(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_listed_and_a_program_that_is_missing_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        fs::create_dir(home.snapshot(3)).unwrap();
        fs::write(home.snapshot(3).join("manifest.json"), "{}").unwrap();
        let head = "product = \"p\"\nrepositories = [\"file:///r\"]\n";
        let config = |more: &str| Config::from_text(&format!("{head}{more}"), home.config_file());
        let mut tender = Tender::default();
        tender.tend(&home, &config("").unwrap());
        assert_eq!(Queue::read(&home).unwrap(), Queue::default(), "without [backup], nothing");
        let backup = "[backup]\nto = \"/b\"\npassword-file = \"/p\"\n";
        for _ in 0..3 {
            tender.tend(&home, &config(backup).unwrap());
        }
        let queue = Queue::read(&home).unwrap();
        assert_eq!(
            (queue.waiting.len(), queue.failures),
            (1, 1),
            "it is not tried before its time"
        );
        assert!(queue.error.unwrap().contains("cannot run countersign-backup"));
    }
}
