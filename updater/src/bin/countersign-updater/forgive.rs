//! `forgive`: a known-bad release may be tried again.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::Version;
use countersign_updater::machine::Wanted;

use crate::{orders, tell};

const EXAMPLES: &str = "\
Examples:
  countersign-updater forgive /srv/examplenode 2.0.0
      it failed for a reason that is gone (a firewall, a full disk): the node may try it again

All checks are as always, and it waits its delay. `status` shows what is known bad, and why.";

/// Let a known-bad version be tried again
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// The version
    version: Version,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let home = tell::open_to_write(&self.node)?;
        let ledger = tell::ledger(&home)?;
        let bad = ledger.bad.iter().find(|(_, bad)| bad.version == self.version);
        let (artifact, bad) = bad.ok_or_else(|| {
            Failure::new(Exit::Input, format!("{} is not known bad here", self.version))
                .hint("countersign-updater status NODE lists what is")
        })?;
        out.say(format!("{} was known bad since {}: {}", bad.version, bad.at, bad.reason));
        let (artifact, version) = (*artifact, self.version);
        orders::give(&home, Wanted::Forgive { artifact, version }, out)
    }
}
