//! `release`: lifts what `hold` ordered.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::Version;
use countersign_updater::machine::Wanted;

use crate::{orders, tell};

const EXAMPLES: &str = "\
Examples:
  countersign-updater release /srv/examplenode
      swaps may begin again; a release whose time came meanwhile is taken now
  countersign-updater release /srv/examplenode 2.0.0
      2.0.0 may be taken again";

/// Lift a hold
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// The hold on this version [default: the one on everything]
    version: Option<Version>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open_to_write(&self.node)?;
        let standing = tell::ledger(&home)?.standing;
        let held = match &self.version {
            None => standing.hold.is_some(),
            Some(version) => standing.held.contains_key(version),
        };
        if !held && !orders::waiting(&home)? {
            let what =
                self.version.map_or("nothing is held".to_owned(), |v| format!("{v} is not held"));
            return Err(Failure::new(Exit::Input, what)
                .hint("countersign-updater status NODE shows every hold that stands"));
        }
        orders::give(&home, Wanted::Release { version: self.version }, out)
    }
}
