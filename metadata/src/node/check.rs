//! Checks: questions to a running node, by which its new version is watched through probation.
//!
//! ```toml
//! [node.checks]
//! api    = { kind = "http", listen = "http", path = "/health" }
//! peers  = { kind = "tcp", listen = "p2p" }
//! store  = { kind = "command", command = ["bin/examplenode", "fsck", "--state", "{state}"] }
//! joined = { kind = "log", line = "joined with [0-9]+ peers", within = 60 }
//! height = { kind = "height", from = { listen = "http", path = "/status", pointer = "/chain/height" }, within = 120 }
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::BadNode;

/// One question to a node that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Check {
    /// `GET path` is answered with 200.
    Http {
        /// Which listening socket, by name.
        listen: String,
        /// The path, beginning with `/`.
        path: String,
    },
    /// A connection is accepted and kept open.
    Tcp {
        /// Which listening socket, by name.
        listen: String,
    },
    /// A command succeeds.
    Command {
        /// Program and arguments; `{state}` is the state directory.
        command: Vec<String>,
    },
    /// A line of the node's output matches, since its start.
    Log {
        /// A regular expression, found anywhere in the line.
        line: String,
        /// Seconds after the start; 1 to 86,400.
        within: u32,
    },
    /// A number grows.
    Height {
        /// Where it is read.
        from: Number,
        /// Seconds in which it must have grown; 1 to 86,400.
        within: u32,
    },
}

/// Where a number is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// In a JSON document that the node serves.
    Http(HttpNumber),
    /// In what a command prints.
    Command(CommandNumber),
}

/// A number in a JSON document that the node serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpNumber {
    /// Which listening socket, by name.
    pub listen: String,
    /// The path, beginning with `/`.
    pub path: String,
    /// A JSON pointer (RFC 6901) to a whole number, or to a string that is one.
    pub pointer: String,
}

/// The whole number that a command prints, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandNumber {
    /// Program and arguments; `{state}` is the state directory.
    pub command: Vec<String>,
}

impl Check {
    /// The listening socket that it asks, if it asks one.
    pub fn socket(&self) -> Option<&str> {
        match self {
            Self::Http { listen, .. }
            | Self::Tcp { listen }
            | Self::Height { from: Number::Http(HttpNumber { listen, .. }), .. } => Some(listen),
            _ => None,
        }
    }

    /// The program that it runs, if it runs one; empty if its command is.
    pub fn program(&self) -> Option<&str> {
        match self {
            Self::Command { command }
            | Self::Height { from: Number::Command(CommandNumber { command }), .. } => {
                Some(command.first().map_or("", String::as_str))
            }
            _ => None,
        }
    }
}

/// Most checks that a node may have.
const MAX_CHECKS: usize = 16;

/// Longest regular expression, in bytes.
const MAX_LINE: usize = 1024;

/// A day, in seconds.
const DAY: u32 = 86_400;

/// Checks what the types of `checks` cannot say. `has_socket` knows the listening sockets, `program` judges the first word of a command.
///
/// # Errors
/// The first check that makes no sense.
pub fn check_all(
    checks: &BTreeMap<String, Check>,
    has_socket: impl Fn(&str) -> bool,
    program: impl Fn(&str, &[String]) -> Result<(), BadNode>,
) -> Result<(), BadNode> {
    if checks.len() > MAX_CHECKS {
        return Err(BadNode::Range("checks: at most 16"));
    }
    for (name, check) in checks {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(BadNode::Range("checks have names of letters, digits and '-'"));
        }
        let asks = |socket: &String| match has_socket(socket) {
            true => Ok(()),
            false => Err(BadNode::NoSuchSocket(format!("checks.{name}"), socket.clone())),
        };
        match check {
            Check::Http { listen, path } => {
                asks(listen)?;
                is_path(path)?;
            }
            Check::Tcp { listen } => asks(listen)?,
            Check::Command { command } => program(&format!("checks.{name}.command"), command)?,
            Check::Log { line, within } => {
                is_pattern(line)?;
                is_within(*within)?;
            }
            Check::Height { from, within } => {
                is_within(*within)?;
                match from {
                    Number::Command(CommandNumber { command }) => {
                        program(&format!("checks.{name}.from.command"), command)?;
                    }
                    Number::Http(HttpNumber { listen, path, pointer }) => {
                        asks(listen)?;
                        is_path(path)?;
                        if !(pointer.is_empty() || pointer.starts_with('/')) {
                            return Err(BadNode::Range(
                                "a check's pointer is empty or begins with /",
                            ));
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

pub(super) fn is_path(path: &str) -> Result<(), BadNode> {
    match path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(BadNode::Range("the path of a check begins with / and holds no space")),
    }
}

pub(super) fn is_pattern(line: &str) -> Result<(), BadNode> {
    if line.is_empty() || line.len() > MAX_LINE {
        return Err(BadNode::Range("a log line is 1 to 1024 bytes of regular expression"));
    }
    regex_lite::Regex::new(line)
        .map(drop)
        .map_err(|error| BadNode::Pattern { line: line.to_owned(), reason: error.to_string() })
}

fn is_within(seconds: u32) -> Result<(), BadNode> {
    match (1..=DAY).contains(&seconds) {
        true => Ok(()),
        false => Err(BadNode::Range("within is 1 to 86400 seconds")),
    }
}
