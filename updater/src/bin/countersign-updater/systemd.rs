//! `systemd`: hardened units for a node, printed or written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint, Out};
use countersign_updater::durable;
use countersign_updater::systemd::units::Plan;
use nix::unistd::{Uid, User};
use serde_json::json;

use crate::tell;

const EXAMPLES: &str = "\
Examples:
  countersign-updater systemd /srv/examplenode
      print a unit for the supervisor and one for the agent
  countersign-updater systemd /srv/examplenode --sockets --write /etc/systemd/system
      and a socket unit for each listening socket; then: systemctl daemon-reload

The units run as the owner of the node directory. systemd supervises the supervisor and the agent; the node itself is always
run by the supervisor. Make them again when the node's sockets change.";

/// Print hardened systemd units for a node, or write them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The node's directory
    node: PathBuf,
    /// The units' name after `@` [default: the product]
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Let systemd open the listening sockets and pass them on
    #[arg(long)]
    sockets: bool,
    /// This program as the units are to call it [default: where it is now]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Write the units into this directory
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn name(text: &str) -> Result<String, String> {
    let good = !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if good {
        Ok(text.to_owned())
    } else {
        Err("a name is 1 to 64 of a-z A-Z 0-9 - _ .".to_owned())
    }
}

impl Args {
    pub(crate) fn run(self, out: Out) -> Result<Exit, Failure> {
        let (home, config) = tell::open_with_config(&self.node)?;
        let running = tell::running(&home)?;
        let owner =
            fs::metadata(home.path()).or_fail(Exit::Host, "cannot see who owns the node")?;
        let user = User::from_uid(Uid::from_raw(owner.uid())).ok().flatten();
        let program = match self.program {
            Some(program) if !program.is_absolute() => {
                return Err(Failure::new(Exit::Usage, "--program needs an absolute path"));
            }
            Some(program) => program,
            None => {
                std::env::current_exe().or_fail(Exit::Host, "cannot tell where this program is")?
            }
        };
        let plan = Plan {
            name: self.name.unwrap_or_else(|| running.product.to_string()),
            program,
            node: home.path().to_owned(),
            user: user.map_or_else(|| owner.uid().to_string(), |user| user.name),
            lease: config.swap.lease,
            listen: running.launch.listen,
            sockets: self.sockets,
        };
        let units = plan.units().or_fail(Exit::Usage, "the units cannot be written")?;
        match &self.write {
            None => {
                for (file, text) in &units {
                    out.say(format!("# {file}\n{text}"));
                }
            }
            Some(dir) => {
                for (file, text) in &units {
                    let path = dir.join(file);
                    durable::write(&path, text.as_bytes()).map_err(|error| tell::disk(&error))?;
                    out.say(format!("wrote {}", path.display()));
                }
                let files: Vec<_> = units.iter().map(|(file, _)| file.as_str()).collect();
                out.say("\nNext:\n  systemctl daemon-reload");
                out.say(format!("  systemctl enable --now {}", files.join(" ")));
            }
        }
        if plan.user == "root" {
            out.say("# The node directory belongs to root: the node would be better off with a user of its own.");
        }
        let units: serde_json::Map<_, _> =
            units.into_iter().map(|(file, text)| (file, json!(text))).collect();
        out.json(&json!({ "units": units, "user": plan.user, "written-to": self.write }));
        Ok(Exit::Done)
    }
}
