//! What agent and supervisor say to each other: one JSON object a line, one reply a request.
//!
//! ```text
//! {"do":"status"}
//! {"do":"stop","hold-ms":60000}      -> {"reply":"stopped"} or {"reply":"stopping","for-ms":10000}
//! {"do":"renew","hold-ms":60000}     -> {"reply":"done"}
//! {"do":"start","ready-ms":60000}    -> {"reply":"ready"} or {"reply":"refused","reason":"…"}
//! {"do":"hand-over","ready-ms":60000} -> as start
//! {"do":"freeze","for-ms":30000}     -> {"reply":"done"}
//! {"do":"thaw"}                      -> {"reply":"thawed","was-frozen":true}
//! {"do":"mirror","share":100000,"for-ms":15000} -> {"reply":"mirroring","left-out":[["admin","why"]]}
//! {"do":"unmirror"}                  -> {"reply":"done"}
//! {"do":"replace"}                   -> {"reply":"done"} or {"reply":"refused","reason":"…"}
//! {"do":"shutdown"}                  -> {"reply":"done"}
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use countersign_metadata::{Sha256, Version};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Share;

/// Longest line, in bytes.
pub const MAX_LINE: u64 = 64 << 10;

/// Longest hold, in milliseconds: an hour.
pub const MAX_HOLD_MS: u64 = 3_600_000;

/// Longest freeze, in milliseconds: two minutes.
pub const MAX_FREEZE_MS: u64 = 120_000;

/// Longest mirroring that nobody renews, in milliseconds: a minute.
pub const MAX_MIRROR_MS: u64 = 60_000;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// How the node is.
    Status,
    /// TERM, and wait for the exit; answered after the node's grace at the latest. The node then stays stopped
    /// for `hold_ms`, unless that is renewed.
    #[serde(rename_all = "kebab-case")]
    Stop {
        /// Milliseconds.
        hold_ms: u64,
    },
    /// Keeps a stopped node stopped for `hold_ms` from now.
    #[serde(rename_all = "kebab-case")]
    Renew {
        /// Milliseconds.
        hold_ms: u64,
    },
    /// Starts what `current` names; answered when it is ready, or not after `ready_ms`.
    #[serde(rename_all = "kebab-case")]
    Start {
        /// Milliseconds.
        ready_ms: u64,
    },
    /// As [`Request::Start`], but what runs serves until what `current` names is ready beside it, and drains then.
    /// Refused where the two may not run at once.
    #[serde(rename_all = "kebab-case")]
    HandOver {
        /// Milliseconds.
        ready_ms: u64,
    },
    /// Stops every thread of the node where it is, for `for_ms` at most.
    #[serde(rename_all = "kebab-case")]
    Freeze {
        /// Milliseconds.
        for_ms: u64,
    },
    /// Ends a freeze.
    Thaw,
    /// Puts a tee before `share` millionths of new connections, which tells `NODE/run/mirror.sock` what they say, for
    /// `for_ms`; asked again, it goes on for `for_ms` from now. Refused while the node is not ready, or not alone.
    #[serde(rename_all = "kebab-case")]
    Mirror {
        /// In millionths.
        share: Share,
        /// Milliseconds.
        for_ms: u64,
    },
    /// Ends that. Connections that go through the tee go on through it until they end.
    Unmirror,
    /// Becomes the program that `NODE/updater/current` names, with everything kept; answered before that, if at all.
    /// Refused while something is under way.
    Replace,
    /// TERM to the node, then the supervisor ends.
    Shutdown,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// It is done.
    Done,
    /// The node has stopped, with all its processes.
    Stopped,
    /// It got TERM and runs still.
    #[serde(rename_all = "kebab-case")]
    Stopping {
        /// Milliseconds since TERM.
        for_ms: u64,
    },
    /// It is ready.
    Ready,
    /// The freeze was ended.
    #[serde(rename_all = "kebab-case")]
    Thawed {
        /// Whether it lasted until now. If not, what was copied meanwhile is not one moment.
        was_frozen: bool,
    },
    /// The tee was started; it tells the agent itself that it listens, or why it does not.
    #[serde(rename_all = "kebab-case")]
    Mirroring {
        /// Sockets that it does not stand before, and why.
        left_out: Vec<(String, String)>,
    },
    /// It did not work.
    #[serde(rename_all = "kebab-case")]
    Refused {
        /// Why, to a person.
        reason: String,
        /// Whether the node itself is the reason: it exited or did not become ready.
        by_node: bool,
    },
}

/// How the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The supervisor's pid.
    pub supervisor: u32,
    /// The file of its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
    /// In short.
    pub phase: Phase,
    /// More of it, to a person.
    pub reason: String,
    /// The generation that runs, or ran last.
    pub generation: u64,
    /// Its version.
    pub version: Version,
    /// Its release, by the digest of the canonical tar.
    pub binary: Sha256,
    /// The node's main process.
    pub pid: Option<i32>,
    /// Since when that process runs.
    pub since: Option<Timestamp>,
    /// Whether it is frozen just now.
    pub frozen: bool,
    /// Unexpected exits of this generation.
    pub crashes: u32,
    /// The last unexpected exit.
    pub last_exit: Option<Exit>,
    /// The sockets that are kept open.
    pub listen: Vec<(String, SocketAddr)>,
    /// The share of new connections that go through the tee, while some do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<Share>,
    /// Processes of other generations that were told to end and finish what they have begun.
    #[serde(default)]
    pub draining: u32,
    /// How long the node's log was, in bytes, when what runs was started.
    #[serde(default)]
    pub log_from: u64,
}

/// How the node is, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It runs and is not ready yet.
    Starting,
    /// It is ready.
    Ready,
    /// It got TERM.
    Stopping,
    /// It is stopped because the agent asked for that.
    Held,
    /// It is not running and will be started.
    Waiting,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When.
    pub at: Timestamp,
    /// Its exit code, if it had one.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<String>,
    /// What kind of end it was.
    #[serde(default)]
    pub class: ExitClass,
}

/// A kind of end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitClass {
    /// Exit code 0, though nobody had asked it to end.
    Clean,
    /// Another exit code.
    #[default]
    Failed,
    /// A signal.
    Crashed,
    /// KILL, while the kernel ended processes for want of memory.
    OutOfMemory,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.class == ExitClass::OutOfMemory {
            return f.write_str("SIGKILL for want of memory");
        }
        match (&self.code, &self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "{signal}"),
            (None, None) => f.write_str("an unknown end"),
        }
    }
}
