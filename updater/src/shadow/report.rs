//! The shadow's report as data: `NODE/reports/SHA256.json`, format 1.

use std::net::IpAddr;
use std::time::Duration;

use countersign_metadata::{Area, Product, Sha256, Version};
use countersign_sandbox::{Attempt, Exit, Lowerable, Process, Protocol, TELLTALES, Usage};
use serde::{Deserialize, Serialize};

use super::judge::Reason;
use super::measures::Measures;
use super::meeting::Meeting;
use super::mirror::Mirrored;
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
    /// By what it could tell that it was in a sandbox; docs/threats.md explains each name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub telltales: Vec<String>,
    /// Live traffic that it was asked, where the operator wants that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirrored: Option<Mirrored>,
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
    /// What it takes, beside the old version; absent if it was never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measures: Option<Measures>,
    /// How it met the old version; absent if it declares no exchange, or was never ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<Meeting>,
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
    /// Where to, where the protocol has such addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpAddr>,
    /// The port, where the protocol has one.
    pub port: Option<u16>,
    /// The DNS name, where one is known; of a unix socket, its path or `@` and its abstract name.
    pub name: Option<String>,
    /// How many times.
    pub count: u64,
    /// Whether release or operator declared it.
    pub expected: bool,
    /// Which processes named that destination, as seen inside, by the time of the first; at most four. What they
    /// call themselves is their own word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// What was to be sent first, where the operator asks for it: printable ASCII, all else as `\xNN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bytes: Option<String>,
    /// The server that a TLS connection asks for, where the operator asks for first bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
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
            processes: attempt.processes.clone(),
            first_bytes: (!attempt.first_bytes.is_empty())
                .then(|| attempt.first_bytes.escape_ascii().to_string()),
            server_name: attempt.server_name.clone(),
        }
    }
}

/// The names of what a payload can tell of the sandbox: who behaves only where it sees none of it was not caught.
pub(super) fn telltales() -> Vec<String> {
    TELLTALES.iter().map(|(name, _)| (*name).to_owned()).collect()
}

impl std::fmt::Display for AttemptSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let port = self.port.map(|port| format!(" port {port}")).unwrap_or_default();
        let name = self.name.as_deref().map(str::escape_debug);
        match (protocol_name(self.protocol), name, self.destination) {
            (Told::Question, Some(name), _) => write!(f, "asked DNS for {name}")?,
            (Told::Question, None, Some(at)) => write!(f, "asked DNS at {at}")?,
            (Told::Question, None, None) => f.write_str("asked DNS")?,
            (Told::Sent(how), Some(name), Some(to)) => write!(f, "{how} to {name} ({to}){port}")?,
            (Told::Sent(how), None, Some(to)) => write!(f, "{how} to {to}{port}")?,
            (Told::Sent(how), name, None) => {
                f.write_str(&how)?;
                name.map_or(Ok(()), |name| write!(f, " {name}"))?;
            }
        }
        if self.count > 1 {
            write!(f, ", {} times", self.count)?;
        }
        for (number, Process { pid, command, .. }) in self.processes.iter().enumerate() {
            let by = if number == 0 { ", by" } else { " and" };
            write!(f, "{by} {} (pid {pid})", command.escape_debug())?;
        }
        match (&self.server_name, &self.first_bytes) {
            (Some(name), _) => write!(f, ", TLS for {name}"),
            (None, Some(bytes)) => {
                let (shown, more) = bytes.split_at_checked(60).unwrap_or((bytes, ""));
                write!(f, ", saying \"{shown}{}\"", if more.is_empty() { "" } else { "…" })
            }
            (None, None) => Ok(()),
        }
    }
}

/// How an attempt is told.
enum Told {
    /// A question to a name server.
    Question,
    /// By this.
    Sent(String),
}

fn protocol_name(protocol: Protocol) -> Told {
    Told::Sent(match protocol {
        Protocol::Dns => return Told::Question,
        Protocol::Tcp => "TCP".to_owned(),
        Protocol::Udp => "UDP".to_owned(),
        Protocol::Icmp => "ICMP".to_owned(),
        Protocol::Other(number) => format!("IP protocol {number}"),
        Protocol::Unix => "the unix socket".to_owned(),
        Protocol::Raw => "a raw socket".to_owned(),
        Protocol::Packet => "a packet socket".to_owned(),
        Protocol::Vsock => "a socket to the virtual machine's host".to_owned(),
        Protocol::Netlink => "a netlink socket".to_owned(),
        Protocol::Family(number) => format!("a socket of family {number}"),
        Protocol::IoUring => "an io_uring".to_owned(),
    })
}

/// How an attempt that goes to no address of the internet is declared, beside `HOST:PORT`; [`is_other`] knows all.
pub(super) fn other_target(protocol: Protocol, name: Option<&str>) -> Option<String> {
    Some(match protocol {
        Protocol::Unix => format!("unix:{}", name?),
        Protocol::Raw => "raw".to_owned(),
        Protocol::Packet => "packet".to_owned(),
        Protocol::Vsock => "vsock".to_owned(),
        Protocol::Netlink => "netlink".to_owned(),
        Protocol::Family(number) => format!("family:{number}"),
        Protocol::IoUring => "io-uring".to_owned(),
        Protocol::Tcp | Protocol::Udp | Protocol::Dns | Protocol::Icmp | Protocol::Other(_) => {
            return None;
        }
    })
}

/// Whether a declared target is one without an address of the internet.
pub(crate) fn is_other(target: &str) -> bool {
    match target.split_once(':') {
        Some(("unix", name)) => name.starts_with(['/', '@']),
        Some(("family", number)) => number.parse::<u16>().is_ok(),
        _ => ["raw", "packet", "vsock", "netlink", "io-uring"].contains(&target),
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
