//! `explain`: for each release, what this node decides about it and why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_metadata::trust::{Releases, VerifiedTarget};
use countersign_metadata::{Sha256, Version};
use countersign_updater::Config;
use countersign_updater::machine::{Ledger, journal};
use countersign_updater::policy::{self, Decision, Facts, Reason, Verdict};
use countersign_updater::rebuilder::Rebuilder;
use countersign_updater::{trust_store, verify};
use jiff::Timestamp;
use serde_json::json;

use crate::tell;

/// Say about each release why this node takes it, or why not
#[derive(clap::Args)]
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
        let records = journal::read(&home.journal())
            .map_err(|error| Failure::caused(Exit::Input, "the journal cannot be read", &error))?;
        let ledger = Ledger::of(&records.records);
        let known_bad: BTreeMap<_, _> =
            ledger.bad.iter().map(|(artifact, bad)| (*artifact, bad.reason.clone())).collect();
        let now = Timestamp::now();
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
            only: None,
        };
        let choice = policy::choose(&config, &releases, facts);
        out.table(
            ["Release", "Decision", "Why"],
            choice.decisions.iter().map(|decision| {
                [name(decision), word(&decision.verdict).to_owned(), why(&decision.verdict)]
            }),
        );
        let by = reproduced_by(&config, &releases, &reproduced);
        for (version, by) in by.iter().filter(|(_, by)| !by.is_empty()) {
            let names: Vec<_> = by.iter().map(|by| named(&config, by)).collect();
            out.say(format!("{version} was reproduced by {}.", names.join(", ")));
        }
        if choice.running_revoked {
            out.say(format!("{} runs here, and its keyholders have revoked it.", running.version));
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
