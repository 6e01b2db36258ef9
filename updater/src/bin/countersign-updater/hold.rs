//! `hold`: no swap begins, or one version is not taken, until `release` or a time that is said.

use std::path::PathBuf;
use std::time::Duration;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::Version;
use countersign_updater::agent;
use countersign_updater::config;
use countersign_updater::machine::Wanted;
use jiff::Timestamp;

use crate::orders;
use crate::run::failure;
use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater hold /srv/examplenode --reason 'the auditors are here'
      no swap begins; releases are still verified, fetched and tried in the shadow, and then wait
  countersign-updater hold /srv/examplenode 2.0.0 --for 3d
      2.0.0 is not taken for three days; an older one that would do is
  countersign-updater hold /srv/examplenode --until 2026-03-01T08:00:00Z

`release` lifts it. A swap that has begun is brought to its end. The hold outlives restarts; its time is counted on the boot clock
too, so that setting the wall clock does not end it.";

/// Begin no swap, or do not take one version, until `release` or a given time
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// Only this version [default: everything]
    version: Option<Version>,
    /// It ends by itself at this time, such as 2026-03-01T08:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "for_time")]
    until: Option<Timestamp>,
    /// It ends by itself after this time, such as 12h or 3d
    #[arg(long = "for", value_name = "TIME", value_parser = config::duration)]
    for_time: Option<Duration>,
    /// Why, for whoever asks `status` later
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = orders::reason)]
    reason: String,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open_to_write(&self.node)?;
        let now = agent::now().map_err(|error| failure(&error))?;
        let time = match self.until {
            Some(until) => {
                let left = Duration::try_from(until.duration_since(now.wall)).ok();
                let left = left.filter(|left| !left.is_zero());
                Some(left.ok_or_else(|| Failure::new(Exit::Usage, "--until is past already"))?)
            }
            None => self.for_time,
        };
        let until = time.map(|time| now.after(time));
        let what = Wanted::Hold { version: self.version, until, reason: self.reason };
        orders::give(&home, what, out)
    }
}
