//! `doctor`: what this machine and this node have to offer.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Out};
use countersign_updater::doctor::{self, Finding};
use serde_json::json;

use crate::tell;

/// Check what the kernel, the machine and the node directory have to offer
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The node's directory; without it only the machine is looked at
    node: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let mut findings = doctor::machine();
        if let Some(node) = &self.node {
            let (home, config) = tell::open_with_config(node)?;
            // What the operator lowered by its name, and nothing else.
            let lowered = &config.shadow.lower;
            findings.retain(|finding| {
                let none = config.shadow.memory.is_none() && finding.name == "memory limit";
                !none && !lowered.iter().any(|one| one.name() == finding.name)
            });
            findings.extend(doctor::node(&home, &config));
        }
        out.table(
            ["What", "For", "Finding"],
            findings.iter().map(|finding| {
                let Finding { name, what, trouble } = finding;
                let text = match trouble {
                    None => "ok".to_owned(),
                    Some(trouble) => {
                        format!("{}\n{}", trouble.text, trouble.hint).trim().to_owned()
                    }
                };
                [name.clone(), what.clone(), text]
            }),
        );
        let troubles =
            findings.iter().filter(|f| f.trouble.as_ref().is_some_and(|t| t.needed)).count();
        match troubles {
            0 => out.say("All is well."),
            1 => out.say("1 thing needs attention."),
            n => out.say(format!("{n} things need attention.")),
        }
        out.json(&json!({ "findings": findings, "troubles": troubles }));
        Ok(if troubles == 0 { Exit::Done } else { Exit::Verdict })
    }
}
