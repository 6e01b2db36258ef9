//! The shadow's report as data: `NODE/reports/SHA256.json`, format 1.

use std::net::IpAddr;
use std::time::Duration;

use countersign_metadata::{Area, Product, Sha256, Version};
use countersign_sandbox::{Attempt, Exit, Lowerable, Protocol, Usage};
use serde::{Deserialize, Serialize};

use super::judge::Reason;
use super::written::WrittenSeen;

/// The format that this code writes.
pub(super) const FORMAT: u32 = 1;

/// What a release did in the shadow. Read from a disk it is a claim: only the one that a run gave is proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The format: 1.
    pub format: u32,
    /// What was tried.
    pub product: Product,
    /// Which version.
    pub version: Version,
    /// The digest of its canonical tar.
    pub artifact: Sha256,
    /// How long it was to be watched, in milliseconds. What it does later was not seen.
    pub window_ms: u64,
    /// How long it was watched.
    pub watched_ms: u64,
    /// Migrations of the copied state, in the order in which they ran.
    pub migrations: Vec<MigrationRun>,
    /// Secret paths of the release that the copy did not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// From start to ready, in milliseconds; absent if it never was.
    pub ready_after_ms: Option<u64>,
    /// The health probe, if the release has one and it came to that.
    pub health: Option<HealthSeen>,
    /// What it tried to reach, by the time of the first try. Nothing real was reached.
    pub attempts: Vec<AttemptSeen>,
    /// Packets that the kernel counted and the eye did not see.
    pub unaccounted: u64,
    /// How it ended; absent if it was never started.
    pub ending: Option<Ending>,
    /// What it wrote to its state, migrations included; absent where it had a copy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<WrittenSeen>,
    /// Protections that it ran without, because the operator lowered exactly these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lowered: Vec<Lowerable>,
    /// The verdict.
    pub verdict: Verdict,
    /// The end of what it printed.
    pub output_end: String,
}

/// A migration of one area of the copied state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MigrationRun {
    /// The area.
    pub area: Area,
    /// The schema it had.
    pub from: u32,
    /// The schema it should have now.
    pub to: u32,
    /// How the command ended.
    pub exit: Exit,
    /// How long it took.
    pub took_ms: u64,
    /// Processes that still ran when its command had ended: on a live node they would hold the state.
    #[serde(default)]
    pub left_running: u64,
    /// What it tried to reach; in the file, among the report's attempts.
    #[serde(skip)]
    pub attempts: Vec<Attempt>,
    /// Packets that the kernel counted and the eye did not see.
    pub unaccounted: u64,
}

impl MigrationRun {
    /// Whether it says that it succeeded.
    pub fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0)
    }
}

/// What the health probe saw last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthSeen {
    /// The path asked for.
    pub path: String,
    /// The HTTP status, or `None` if there was no answer.
    pub status: Option<u16>,
    /// What went wrong, if anything.
    pub trouble: Option<String>,
    /// The product that the answer names, if it is JSON that names one.
    pub product: Option<String>,
    /// The version that the answer names, if it is JSON that names one.
    pub version: Option<String>,
    /// How long the last answer took.
    pub took_ms: u64,
}

/// Something that it tried to reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptSeen {
    /// After its start, in milliseconds.
    pub after_ms: u64,
    /// How.
    pub protocol: Protocol,
    /// Where to.
    pub destination: IpAddr,
    /// The port, where the protocol has one.
    pub port: Option<u16>,
    /// The DNS name, where one is known.
    pub name: Option<String>,
    /// How many times.
    pub count: u64,
    /// Whether release or operator declared it.
    pub expected: bool,
}

impl AttemptSeen {
    pub(super) fn new(attempt: &Attempt, expected: bool) -> Self {
        Self {
            after_ms: millis(attempt.after),
            protocol: attempt.protocol,
            destination: attempt.destination,
            port: attempt.port,
            name: attempt.name.clone(),
            count: attempt.count,
            expected,
        }
    }
}

impl std::fmt::Display for AttemptSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.port.map(|port| format!(" port {port}")).unwrap_or_default();
        match (self.protocol, &self.name) {
            (Protocol::Dns, Some(name)) => write!(f, "asked DNS for {name}")?,
            (Protocol::Dns, None) => write!(f, "asked DNS at {}", self.destination)?,
            (protocol, Some(name)) => {
                write!(f, "{} to {name} ({}){port}", protocol_name(protocol), self.destination)?;
            }
            (protocol, None) => {
                write!(f, "{} to {}{port}", protocol_name(protocol), self.destination)?;
            }
        }
        if self.count > 1 { write!(f, ", {} times", self.count) } else { Ok(()) }
    }
}

fn protocol_name(protocol: Protocol) -> String {
    match protocol {
        Protocol::Tcp => "TCP".to_owned(),
        Protocol::Udp => "UDP".to_owned(),
        Protocol::Dns => "DNS".to_owned(),
        Protocol::Icmp => "ICMP".to_owned(),
        Protocol::Other(number) => format!("IP protocol {number}"),
    }
}

/// How it ended, and what it used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Whether it ended before it was asked to.
    pub early: bool,
    /// Its exit.
    pub exit: Exit,
    /// Processor time of all its processes, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// From start to end, in milliseconds.
    pub wall_ms: u64,
    /// The largest resident size of any one process, in bytes.
    pub max_rss_bytes: u64,
}

impl Ending {
    pub(super) fn new(early: bool, exit: Exit, usage: Usage) -> Self {
        Self {
            early,
            exit,
            cpu_ms: millis(usage.cpu),
            wall_ms: millis(usage.wall),
            max_rss_bytes: usage.max_rss,
        }
    }
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// It did nothing that it may not.
    Cleared,
    /// It did, or did not do what it must.
    Refused {
        /// Everything that speaks against it.
        reasons: Vec<Reason>,
    },
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
