//! `explain`: for each release, what this node decides about it and why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::trust::{Releases, VerifiedTarget};
use countersign_metadata::{Sha256, Version};
use countersign_updater::policy::{self, Decision, Facts, Reason, Verdict};
use countersign_updater::rebuilder::Rebuilder;
use countersign_updater::seen::Seen;
use countersign_updater::shadow::reports;
use countersign_updater::{Config, agent, trust_store, verify};
use serde_json::json;

use crate::report::say_measures;
use crate::run::failure;
use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater explain /srv/examplenode
      ask the mirrors, then say what this node decides about each release, with every reason
  countersign-updater explain --offline --json /srv/examplenode";

/// Say about each release why this node takes it, or why not
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// Ask no mirror: judge what was seen last
    #[arg(long)]
    offline: bool,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        // What a mirror says is kept: only the owner may ask it.
        let home =
            if self.offline { tell::open(&self.node)? } else { tell::open_to_write(&self.node)? };
        let (home, config) = tell::with_config(home)?;
        let running = tell::running(&home)?;
        let ledger = tell::ledger(&home)?;
        let known_bad: BTreeMap<_, _> =
            ledger.bad.iter().map(|(artifact, bad)| (*artifact, bad.reason.clone())).collect();
        let moment = agent::now().map_err(|error| failure(&error))?;
        let ages = Seen::read(&home).map_err(|error| tell::disk(&error))?.ages(&moment);
        let standing = ledger.standing.held.iter().filter(|(_, stay)| stay.stands(&moment));
        let held = standing.map(|(version, stay)| (version.clone(), stay.to_string())).collect();
        let now = moment.wall;
        let (releases, reproduced, mirror) = if self.offline {
            let releases = trust_store::kept_releases(&home, &config, now)
                .map_err(|error| tell::trust(&error))?;
            let reproduced = trust_store::kept_reproducers(&home, &releases, now)
                .map_err(|error| tell::trust(&error))?;
            (releases, reproduced, None)
        } else {
            let refreshed =
                trust_store::refresh(&home, &config, now).map_err(|error| tell::trust(&error))?;
            for (mirror, error) in &refreshed.passed_over {
                out.say(format!("passed over {mirror}: {}", trust_store::chain(error)));
            }
            (refreshed.releases, refreshed.reproduced, Some(refreshed.mirror.to_string()))
        };
        let facts = Facts {
            running: Some(&running),
            known_bad: &known_bad,
            reproduced: &reproduced,
            ages: &ages,
            held: &held,
            only: None,
        };
        let choice = policy::choose(&config, &releases, facts);
        out.table(
            ["Release", "Decision", "Why"],
            choice.decisions.iter().map(|decision| {
                [name(decision), word(&decision.verdict).to_owned(), whole(decision)]
            }),
        );
        let by = reproduced_by(&config, &releases, &reproduced);
        for (version, by) in by.iter().filter(|(_, by)| !by.is_empty()) {
            let names: Vec<_> = by.iter().map(|by| named(&config, by)).collect();
            out.say(format!("{version} was reproduced by {}.", names.join(", ")));
        }
        // Only the owner may read reports.
        let tried = reports(&home).unwrap_or_default().into_iter().next();
        if let Some(tried) = tried.filter(|tried| tried.report.version > running.version) {
            out.say(format!("{} was tried in the shadow:", tried.report.version));
            say_measures(out, &tried.report);
        }
        config.policy.warnings().iter().for_each(|warning| out.say(format!("Note: {warning}.")));
        if let Some(stay) = ledger.standing.hold.as_ref().filter(|stay| stay.stands(&moment)) {
            out.say(format!("No swap begins: {stay}."));
        }
        if choice.running_revoked {
            out.say(format!("{} runs here, and its keyholders have revoked it.", running.version));
            if choice.approved.is_none() {
                out.say(
                    "Nothing newer is to be had; what ran before: countersign-updater rollback.",
                );
            }
        }
        match &choice.approved {
            Some(approved) => out.say(format!("Next: {}.", approved.release().version)),
            None => out.say(format!("Nothing to do: {} stays.", running.version)),
        }
        out.json(&json!({
            "running": running.version,
            "running-revoked": choice.running_revoked,
            "chosen": choice.approved.as_ref().map(|a| &a.release().version),
            "mirror": mirror,
            "decisions": choice.decisions.iter().map(with_sentences).collect::<Vec<_>>(),
            "reproduced": by
                .iter()
                .map(|(version, by)| json!({ "version": version, "by": by }))
                .collect::<Vec<_>>(),
        }));
        Ok(Exit::Done)
    }
}

type Reproduced = BTreeMap<Sha256, verify::Reproduced>;

/// Of each release that was looked at: who of those that count reproduced it.
fn reproduced_by<'a>(
    config: &Config,
    releases: &'a Releases,
    reproduced: &'a Reproduced,
) -> Vec<(&'a Version, Vec<&'a Rebuilder>)> {
    let looked_at = |t: &&VerifiedTarget| reproduced.contains_key(&t.release().artifact.sha256);
    let releases = releases.verified.iter().filter(looked_at);
    releases.map(|t| (&t.release().version, policy::counted(config, t, reproduced))).collect()
}

fn named(config: &Config, by: &Rebuilder) -> String {
    let listed = config.policy.identities.iter().find(|signer| Rebuilder::from(*signer) == *by);
    listed.map_or_else(|| by.to_string(), |signer| format!("{}: {by}", signer.label))
}

/// The decision with all that is to be known about the release.
fn whole(decision: &Decision) -> String {
    let mut words = why(&decision.verdict);
    if !decision.rollout.is_empty() {
        words.push_str(&format!("; its keyholders say: {}", decision.rollout));
    }
    let asks: Vec<_> = decision.actions.iter().map(|(id, text)| format!("{text} ({id})")).collect();
    if !asks.is_empty() && decision.verdict != Verdict::Running {
        words.push_str(&format!("; it asks of you: {}", asks.join("; ")));
    }
    words
}

fn with_sentences(decision: &Decision) -> serde_json::Value {
    let mut value = serde_json::to_value(decision).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("why".to_owned(), why(&decision.verdict).into());
    }
    value
}

fn name(decision: &Decision) -> String {
    match &decision.version {
        Some(version) => version.to_string(),
        None => decision.path.clone(),
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Running => "runs",
        Verdict::Chosen => "taken",
        Verdict::Eligible => "would do",
        Verdict::Refused(_) => "not taken",
    }
}

fn why(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Running => "it is what runs now".to_owned(),
        Verdict::Chosen => "the newest that this node takes".to_owned(),
        Verdict::Eligible => "a newer one is taken".to_owned(),
        Verdict::Refused(reasons) => {
            reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join("; ")
        }
    }
}

/// A decision in one line.
pub(crate) fn sentence(decision: &Decision) -> String {
    format!("{}: {}", name(decision), why(&decision.verdict))
}
