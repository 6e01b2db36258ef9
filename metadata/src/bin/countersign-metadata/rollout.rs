//! `rollout`: say anew when nodes take a version. The release itself stays as it is.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::authoring::{Draft, DraftState};
use countersign_metadata::{Product, Rollout, Version};
use jiff::tz::TimeZone;
use jiff::{SpanRelativeTo, Timestamp};
use serde_json::json;

use crate::draft_dir::DraftDir;
use crate::repository::Repository;
use crate::when::{self, Within};
use crate::{status, tell};

const EXAMPLES: &str = "\
Examples:
  countersign-metadata rollout --repo REPO --product demo --version 2.0.0 --window 7d
      nodes spread over a week instead of their operators' own window
  countersign-metadata rollout --repo REPO --product demo --version 2.0.0 --not-before 2026-03-01T09:00:00Z
      no node takes it before; what was said about the window stays
  countersign-metadata rollout --repo REPO --product demo --version 2.0.0 --cancel 'it leaks memory'
      no node takes it from now on; nodes that run it stay (`revoke` makes them leave)
  countersign-metadata rollout --repo REPO --product demo --version 2.0.0 --resume
      take the cancellation back

The artifact is not touched and nobody rebuilds: keyholders sign one file. A node's delay can be made longer by this, and shorter
only for an urgent release, down to its operator's own urgent-floor. A version may get its rollout before it is released.";

/// Draft when nodes take a version: later, more slowly, or not at all
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// The product
    #[arg(long, value_name = "NAME")]
    product: Product,
    /// The version, on all platforms
    #[arg(long, value_name = "VERSION")]
    version: Version,
    #[command(flatten)]
    change: Change,
    /// How long the product's role is good
    #[arg(long, value_name = "SPAN", default_value = "1y")]
    expires: Within,
}

#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// No node takes it before this time (such as 2026-03-01T09:00:00Z)
    #[arg(long, value_name = "TIME")]
    not_before: Option<Timestamp>,
    /// Nodes spread over this span (such as 7d)
    #[arg(long, value_name = "SPAN")]
    window: Option<Within>,
    /// No node takes it, for this reason
    #[arg(long, value_name = "REASON", conflicts_with = "resume")]
    cancel: Option<String>,
    /// Nodes take it again
    #[arg(long)]
    resume: bool,
    /// Forget what was said before: operators' own delays count, but for what is said now
    #[arg(long)]
    clear: bool,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let mut published = repository.must_be_published()?;
        let now = when::now();
        let (product, version) = (&self.product, &self.version);
        published
            .load_bins(product, &mut repository.source())
            .map_err(|error| tell::authoring("cannot read the bins", &error))?;
        let cannot = || format!("cannot change the rollout of {product} {version}");
        let was = published.rollout(product, version);
        let was = was.map_err(|error| tell::authoring(cannot(), &error))?;
        let rollout = self.change.to(&was)?;
        let expires = self.expires.after(now)?;
        let draft = Draft::rollout(&published, product, version, &rollout, expires)
            .map_err(|error| tell::authoring(cannot(), &error))?;
        let name = format!("rollout-{product}-{version}");
        let dir = DraftDir::create(&repository, &name, &draft, |_| Ok(()))?;
        let draft = DraftDir::open(&repository, &dir, Some(&mut published))?;
        let requests: Vec<_> = draft.draft.parts().iter().map(|p| draft.request_path(p)).collect();
        out.say(format!("The rollout of {product} {version} is drafted in {}", dir.display()));
        out.say(format!("  from now on  {rollout}"));
        out.say(format!("  before       {was}"));
        status::show(&status::describe(&draft, &DraftState::Open, now), now, out);
        out.json(&json!({
            "draft": draft.name(), "dir": dir, "requests": requests, "rollout": rollout, "before": was,
        }));
        Ok(Exit::Done)
    }
}

impl Change {
    fn to(self, was: &Rollout) -> Result<Rollout, Failure> {
        let mut rollout = if self.clear { Rollout::default() } else { was.clone() };
        if let Some(instant) = self.not_before {
            let whole = Timestamp::from_second(instant.as_second());
            rollout.not_before = whole.ok();
        }
        if let Some(window) = self.window {
            rollout.window_seconds = Some(window.seconds()?);
        }
        if self.resume {
            rollout.cancelled = None;
        }
        if self.cancel.is_some() {
            rollout.cancelled = self.cancel;
        }
        Ok(rollout)
    }
}

impl Within {
    /// Its length in seconds, days of 24 hours.
    fn seconds(self) -> Result<u64, Failure> {
        let start = SpanRelativeTo::from(Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC).datetime());
        let length = self.span().to_duration(start);
        let seconds = length.ok().and_then(|length| u64::try_from(length.as_secs()).ok());
        seconds.ok_or_else(|| Failure::new(Exit::Usage, "--window reaches too far"))
    }
}
