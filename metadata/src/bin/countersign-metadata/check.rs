//! `check`: an exit code for cron when something is about to expire.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use serde_json::json;

use crate::repository::Repository;
use crate::when::{self, Within};

/// Fail when something published expires soon
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Work directory of the repository
    #[arg(long)]
    repo: PathBuf,
    /// How soon
    #[arg(long, value_name = "SPAN", default_value = "30d")]
    within: Within,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let repository = Repository::open(&self.repo)?;
        let published = repository.must_be_published()?;
        let now = when::now();
        let limit = self.within.after(now)?;
        let mut expiring = published.roles();
        expiring.retain(|role| role.expires <= limit);
        for role in &expiring {
            let who = match role.role.as_str() {
                "snapshot" | "timestamp" => "`countersign-metadata refresh` renews it",
                _ => "its keyholders must sign a new version",
            };
            let left = when::in_days(now, role.expires);
            out.say(format!(
                "{} {} expires at {} ({left}): {who}",
                role.role, role.version, role.expires
            ));
        }
        if expiring.is_empty() {
            out.say(format!("Nothing expires before {limit:.0}."));
        }
        out.json(&json!({
            "before": limit,
            "expiring": expiring.iter().map(|role| json!({
                "role": role.role, "version": role.version, "expires": role.expires,
                "days": when::days(now, role.expires),
            })).collect::<Vec<_>>(),
        }));
        Ok(if expiring.is_empty() { Exit::Done } else { Exit::Verdict })
    }
}
