//! `[node.shadow.meet]`: an exchange with the version that runs, which a release must complete in the shadow.
//!
//! ```toml
//! [node.shadow.meet]
//! listen = "p2p"               # the socket at which nodes meet
//! command = ["bin/examplenode", "exchange", "--own", "{own}", "--peer", "{peer}"]
//! within = 30                  # seconds that it may take
//! ```
//!
//! The command is run beside both nodes, once from each side, each time by the version that begins: `{own}` is the
//! address of that version's node, `{peer}` of the other one. Exit code 0 says that both have understood each other.

use serde::{Deserialize, Serialize};

use super::{BadNode, inside};

/// An exchange of two nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeetSpec {
    /// Which listening socket, by name. TCP.
    pub listen: String,
    /// What drives the exchange. The program is a path inside the artifact.
    pub command: Vec<String>,
    /// How many seconds it may take; 1 to 600.
    #[serde(default = "thirty")]
    pub within: u32,
}

fn thirty() -> u32 {
    30
}

impl MeetSpec {
    /// Checks what the types cannot say. `has_socket` knows the listening sockets.
    pub(super) fn check(&self, has_socket: impl Fn(&str) -> bool) -> Result<(), BadNode> {
        inside("shadow.meet", &self.command)?;
        if !has_socket(&self.listen) {
            return Err(BadNode::NoSuchSocket("shadow.meet".to_owned(), self.listen.clone()));
        }
        if !self.command.iter().any(|word| word.contains("{peer}")) {
            return Err(BadNode::Range("shadow.meet: the command has no {peer} to talk to"));
        }
        if !(1..=600).contains(&self.within) {
            return Err(BadNode::Range("shadow.meet.within is 1 to 600 seconds"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_exchange_names_its_socket_its_program_and_its_peer() {
        let check = |fields: serde_json::Value| {
            let mut spec = json!({ "listen": "p2p", "command": ["bin/n", "{peer}"] });
            spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let spec: MeetSpec = serde_json::from_value(spec).map_err(|e| e.to_string())?;
            spec.check(|socket| socket == "p2p").map_err(|e| e.to_string())
        };
        check(json!({})).unwrap();
        for (bad, wanted) in [
            (json!({ "listen": "http" }), "http"),
            (json!({ "command": ["/bin/sh", "{peer}"] }), "inside the artifact"),
            (json!({ "command": ["bin/n", "{own}"] }), "{peer}"),
            (json!({ "within": 0 }), "within"),
            (json!({ "colour": 1 }), "unknown field"),
        ] {
            let told = check(bad).unwrap_err();
            assert!(told.contains(wanted), "{told}");
        }
    }
}
