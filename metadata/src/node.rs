//! `[node]`: how a product runs on a node. Written in the recipe, signed in the release.
//!
//! ```toml
//! [node]
//! command = ["bin/examplenode", "serve", "--state", "{state}"]
//! listen = { http = "127.0.0.1:8080" }
//! ready = "notify"
//! checkpoint = ["bin/examplenode", "checkpoint", "--state", "{state}", "--to", "{to}"]
//! identity = ["bin/examplenode", "identity", "--state", "{state}"]
//! stop-grace = 10
//! connects-to = []
//! overlap = false              # true: two versions may run on the same state at once
//! locks = ["values/LOCK"]      # files of the state that are locked while the node runs
//!
//! [node.health]
//! listen = "http"
//! path = "/node/version"
//!
//! [node.areas.values]
//! schema = 2
//! reads = [1]                  # schemas that this release reads as they are, beside its own
//! migrate = ["bin/examplenode", "migrate", "--area", "values", "--state", "{state}", "--from", "{from}", "--to", "{to}"]
//!
//! [node.areas.keys]
//! schema = 1
//! secret = true                # never in a shadow, nor outside this machine in the clear
//! paths = ["keys", "*.pem"]
//! ```
//!
//! The first word of every command is a path inside the artifact. `{state}` is the state directory,
//! `{to}` and `{from}` are a directory (checkpoint) or schema numbers (migrate).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::Area;

mod area;

pub use area::{AreaSpec, BadStatePath, StatePath};
mod check;

pub use check::{Check, CommandNumber, HttpNumber, Number, check_all};
mod meet;

pub use meet::MeetSpec;
mod shadow;

pub use shadow::{HttpRequest, RawRequest, Same, Scripted, ShadowSpec, compiled};

/// How a product runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeSpec {
    /// Program and arguments. The program is a path inside the artifact.
    pub command: Vec<String>,
    /// Listening sockets by name. The supervisor opens them and passes them by `LISTEN_FDS`, in name order,
    /// with the names in `LISTEN_FDNAMES`. The operator's configuration may move an address.
    #[serde(default)]
    pub listen: BTreeMap<String, SocketAddr>,
    /// How the node says that it is ready.
    #[serde(default)]
    pub ready: Ready,
    /// The line of output that says so, a regular expression; with `ready = "log"` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_line: Option<String>,
    /// Asked after readiness, in the shadow and in probation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Writes a consistent copy of the state to the directory `{to}` while the node runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Vec<String>>,
    /// Makes up a throw-away identity in `{state}`, a copy without the secret areas: for the shadow only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Vec<String>>,
    /// Seconds between TERM and the operator being asked; 1 to 600.
    #[serde(default = "ten")]
    pub stop_grace: u32,
    /// Destinations (`HOST:PORT`) that it may try to reach; anything else fails the shadow.
    #[serde(default)]
    pub connects_to: Vec<String>,
    /// Areas of state, each with its own schema version.
    #[serde(default)]
    pub areas: BTreeMap<Area, AreaSpec>,
    /// Extra environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Whether two versions may serve from the same state at once: it has no exclusive state. A swap then starts the
    /// new one beside the old one, where both say so and no area changes its schema.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overlap: bool,
    /// Files below the state directory that the node keeps locked (`flock` or `fcntl`). After a stop they must be free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    /// What a new version is asked all through its probation, beside `health`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Check>,
    /// What it says about its own run in the shadow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowSpec>,
}

/// How a node says that it is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// `READY=1` to `NOTIFY_SOCKET` (`sd_notify(3)`).
    #[default]
    Notify,
    /// The process runs and its first listening socket takes a connection and answers the health probe, or,
    /// without one, keeps the connection open.
    Connect,
    /// A line of its output matches `ready-line`.
    Log,
}

/// An HTTP request that a healthy node answers with 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Which listening socket, by name.
    pub listen: String,
    /// The path, beginning with `/`.
    pub path: String,
}

fn ten() -> u32 {
    10
}

/// A `[node]` section that makes no sense.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BadNode {
    /// A command is empty, absolute, or leaves the artifact.
    #[error("[node] {what} begins with {program:?}, which is not a path inside the artifact")]
    Program {
        /// Which command.
        what: String,
        /// Its first word.
        program: String,
    },
    /// A probe names a socket that is not listed.
    #[error("[node] {0} asks the socket {1:?}, which is not in listen")]
    NoSuchSocket(String, String),
    /// A log line that is no regular expression.
    #[error("[node] {line:?} is no regular expression: {reason}")]
    Pattern {
        /// As written.
        line: String,
        /// Why.
        reason: String,
    },
    /// A value is out of its range.
    #[error("[node] {0}")]
    Range(&'static str),
}

impl NodeSpec {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(&self) -> Result<(), BadNode> {
        inside("command", &self.command)?;
        if let Some(checkpoint) = &self.checkpoint {
            inside("checkpoint", checkpoint)?;
        }
        if let Some(identity) = &self.identity {
            inside("identity", identity)?;
        }
        for (area, spec) in &self.areas {
            if let Some(migrate) = &spec.migrate {
                inside(&format!("areas.{area}.migrate"), migrate)?;
            }
            spec.check()?;
        }
        if let Some(health) = &self.health {
            if !self.listen.contains_key(&health.listen) {
                return Err(BadNode::NoSuchSocket("health".to_owned(), health.listen.clone()));
            }
            check::is_path(&health.path)?;
        }
        if !(1..=600).contains(&self.stop_grace) {
            return Err(BadNode::Range("stop-grace is 1 to 600 seconds"));
        }
        let names = self.listen.keys().all(|n| {
            !n.is_empty()
                && n.len() <= 64
                && n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
        if !names || self.listen.len() > 16 {
            return Err(BadNode::Range(
                "listen takes at most 16 sockets with names of letters, digits and '-'",
            ));
        }
        let reserved =
            ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "LD_PRELOAD"];
        if self
            .environment
            .keys()
            .any(|k| reserved.contains(&k.as_str()) || k.contains('=') || k.is_empty())
        {
            return Err(BadNode::Range(
                "environment may not set LISTEN_*, NOTIFY_SOCKET or LD_PRELOAD",
            ));
        }
        if self.ready == Ready::Connect && self.listen.is_empty() {
            return Err(BadNode::Range("ready = \"connect\" needs a listening socket"));
        }
        match (self.ready, &self.ready_line) {
            (Ready::Log, None) => {
                return Err(BadNode::Range("ready = \"log\" needs a ready-line"));
            }
            (Ready::Log, Some(line)) => check::is_pattern(line)?,
            (_, Some(_)) => return Err(BadNode::Range("ready-line needs ready = \"log\"")),
            (_, None) => {}
        }
        check_all(&self.checks, |socket| self.listen.contains_key(socket), inside)?;
        if let Some(shadow) = &self.shadow {
            shadow.check(|socket| self.listen.contains_key(socket))?;
        }
        self.check_sharing()
    }

    fn check_sharing(&self) -> Result<(), BadNode> {
        let lies_inside = |path: &String| {
            path.split('/').all(|s| !s.is_empty() && s != "." && s != "..") && !path.contains('\0')
        };
        if self.locks.len() > 16 || !self.locks.iter().all(lies_inside) {
            return Err(BadNode::Range("locks are at most 16 paths inside the state directory"));
        }
        if !self.overlap {
            return Ok(());
        }
        if !self.locks.is_empty() {
            return Err(BadNode::Range(
                "overlap means no exclusive state, and locks are just that",
            ));
        }
        if self.listen.is_empty() {
            return Err(BadNode::Range("overlap hands sockets over, and listen has none"));
        }
        if self.ready != Ready::Notify {
            return Err(BadNode::Range(
                "overlap needs ready = \"notify\": on a shared socket or log, the old version answers for the new one",
            ));
        }
        Ok(())
    }
}

fn inside(what: &str, command: &[String]) -> Result<(), BadNode> {
    let program = command.first().cloned().unwrap_or_default();
    let segments = program.split('/').all(|s| !s.is_empty() && s != "." && s != "..");
    if segments && !program.contains(['{', '\0', '\\']) {
        return Ok(());
    }
    Err(BadNode::Program { what: what.to_owned(), program })
}

/// A command with its `{…}` placeholders filled in. Unknown placeholders stay as they are.
pub fn fill(command: &[String], values: &[(&str, &str)]) -> Vec<String> {
    command
        .iter()
        .map(|word| values.iter().fold(word.clone(), |w, (k, v)| w.replace(&format!("{{{k}}}"), v)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(program: &str) -> NodeSpec {
        serde_json::from_value(serde_json::json!({ "command": [program] })).unwrap()
    }

    #[test]
    fn a_program_outside_the_artifact_is_refused() {
        assert!(spec("bin/node").check().is_ok());
        for bad in ["", "/bin/sh", "../sh", "bin/../../sh", "./x", "bin//x", "{state}/x"] {
            assert!(spec(bad).check().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        let with = |fields: serde_json::Value| {
            let mut node =
                serde_json::json!({ "command": ["bin/n"], "listen": { "http": "127.0.0.1:1" } });
            node.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let node: Result<NodeSpec, _> = serde_json::from_value(node);
            node.map_err(|e| e.to_string())?.check().map_err(|e| e.to_string())
        };
        let check =
            |check: serde_json::Value| with(serde_json::json!({ "checks": { "c": check } }));
        for good in [
            serde_json::json!({ "kind": "http", "listen": "http", "path": "/" }),
            serde_json::json!({ "kind": "tcp", "listen": "http" }),
            serde_json::json!({ "kind": "command", "command": ["bin/n", "ok"] }),
            serde_json::json!({ "kind": "log", "line": "joined [0-9]+", "within": 5 }),
            serde_json::json!({ "kind": "height", "within": 5, "from": { "command": ["bin/n"] } }),
            serde_json::json!({ "kind": "height", "within": 5,
                "from": { "listen": "http", "path": "/", "pointer": "/a/0" } }),
        ] {
            check(good).unwrap();
        }
        for (bad, wanted) in [
            (serde_json::json!({ "kind": "http", "listen": "p2p", "path": "/" }), "p2p"),
            (serde_json::json!({ "kind": "http", "listen": "http", "path": "x" }), "path"),
            (serde_json::json!({ "kind": "tcp", "listen": "http", "path": "/" }), "unknown field"),
            (
                serde_json::json!({ "kind": "command", "command": ["/bin/sh"] }),
                "inside the artifact",
            ),
            (
                serde_json::json!({ "kind": "log", "line": "(", "within": 5 }),
                "no regular expression",
            ),
            (serde_json::json!({ "kind": "log", "line": "x", "within": 0 }), "within"),
            (
                serde_json::json!({ "kind": "height", "within": 5,
                "from": { "listen": "http", "path": "/", "pointer": "a" } }),
                "pointer",
            ),
            (serde_json::json!({ "kind": "height", "within": 5, "from": {} }), "did not match"),
            (serde_json::json!({ "kind": "mood" }), "unknown variant"),
        ] {
            let told = check(bad).unwrap_err();
            assert!(told.contains(wanted), "{told}");
        }
        for (bad, wanted) in [
            (serde_json::json!({ "locks": ["../x"] }), "inside the state"),
            (serde_json::json!({ "overlap": true, "locks": ["db/LOCK"] }), "exclusive state"),
            (serde_json::json!({ "overlap": true, "ready": "connect" }), "ready = \"notify\""),
            (serde_json::json!({ "overlap": true, "listen": {} }), "listen has none"),
            (serde_json::json!({ "ready": "log" }), "needs a ready-line"),
            (serde_json::json!({ "ready-line": "up" }), "needs ready = \"log\""),
        ] {
            let told = with(bad).unwrap_err();
            assert!(told.contains(wanted), "{told}");
        }
        with(serde_json::json!({ "ready": "log", "ready-line": "^up$", "locks": ["db/LOCK"] }))
            .unwrap();
        with(serde_json::json!({ "overlap": true })).unwrap();
    }

    #[test]
    fn placeholders_are_filled_in_every_word() {
        let words = ["a".to_owned(), "--to={to}".to_owned()];
        assert_eq!(fill(&words, &[("to", "2")]), ["a", "--to=2"]);
    }
}
