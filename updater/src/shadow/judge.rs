//! The verdict: a pure function of what was seen and what was declared.

use std::collections::BTreeSet;
use std::fmt;

use countersign_metadata::{Area, Release};
use countersign_sandbox::{Attempt, Exit, Lowerable, Protocol};
use serde::{Deserialize, Serialize};

use super::measures::{Figure, Measures};
use super::meeting::{Pair, Protocols};
use super::migration::Rehearsal;
use super::mirror::Mirrored;
use super::replies::Answers;
use super::report::{self, AttemptSeen, Ending, HealthSeen, Report, Verdict};
use super::script::Kept;
use super::watch::Seen;
use crate::Config;

/// What speaks against a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
#[expect(
    missing_docs,
    reason = "each reason and its fields are said in full by its sentence below"
)]
pub enum Reason {
    MigrationFailed { area: Area, from: u32, to: u32, exit: Exit },
    MigrationLeftRunning { area: Area, processes: u64 },
    NoIdentity { why: String },
    NotReady { after_ms: u64 },
    EndedEarly { exit: Exit },
    Unhealthy { path: String, trouble: String },
    CheckFailed { name: String, trouble: String },
    OtherProduct { says: String, signed: String },
    OtherVersion { says: String, signed: String },
    PhonesHome { attempt: AttemptSeen },
    UnaccountedTraffic { packets: u64 },
    DoesNotStop { grace_ms: u64 },
    TakesMore { figure: Figure },
    OtherAnswers { answers: Answers },
    UnexpectedAnswers { script: Kept },
    DangerousCalls { calls: BTreeSet<String> },
    EndsWorse { exit: Exit, old: Exit },
    NoCommonProtocol { protocols: Protocols },
    NotUnderstood { pair: Pair },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MigrationFailed { area, from, to, exit } => write!(
                f,
                "its migration of {area} from schema {from} to {to} ended with {}",
                exit_text(*exit)
            ),
            Self::MigrationLeftRunning { area, processes } => {
                write!(f, "its migration of {area} left {processes} processes running")
            }
            Self::NoIdentity { why } => f.write_str(why),
            Self::NotReady { after_ms } => write!(f, "it was not ready after {after_ms} ms"),
            Self::EndedEarly { exit } => write!(f, "it ended by itself, with {}", exit_text(*exit)),
            Self::Unhealthy { path, trouble } => {
                write!(f, "its health probe {path} failed: {trouble}")
            }
            Self::CheckFailed { name, trouble } => {
                write!(f, "its check {name:?} failed: {trouble}")
            }
            Self::OtherProduct { says, signed } => {
                write!(f, "it says that it is {says}, and was signed as {signed}")
            }
            Self::OtherVersion { says, signed } => {
                write!(f, "it says that it is version {says}, and was signed as {signed}")
            }
            Self::PhonesHome { attempt } => write!(f, "it tried to reach the world: {attempt}"),
            Self::UnaccountedTraffic { packets } => {
                write!(f, "it sent {packets} packets whose destination was not seen")
            }
            Self::DoesNotStop { grace_ms } => {
                write!(f, "it did not stop within {grace_ms} ms of being asked to")
            }
            Self::TakesMore { figure: Figure { what, new, old, limit, .. } } => {
                let text = |figure: Option<u64>| what.text(figure.unwrap_or(0));
                let (name, new) = (what.name(), what.text(*new));
                let (old, limit) = (text(*old), text(*limit));
                write!(
                    f,
                    "its {name}: {new} beside {old} of the old version, above the limit of {limit}"
                )
            }
            Self::OtherAnswers { answers } => answers.fmt(f),
            Self::UnexpectedAnswers { script } => script.fmt(f),
            Self::EndsWorse { exit, old } => {
                let (exit, old) = (exit_text(*exit), exit_text(*old));
                write!(f, "asked to end, it ended with {exit}, and the old version with {old}")
            }
            Self::NoCommonProtocol { protocols: Protocols { new, old } } => write!(
                f,
                "it speaks protocols {} to {}, and the old version {} to {}: they have none in common",
                new.0, new.1, old.0, old.1
            ),
            Self::NotUnderstood { pair } => pair.fmt(f),
            Self::DangerousCalls { calls } => {
                let names: Vec<_> = calls.iter().map(String::as_str).collect();
                write!(
                    f,
                    "it makes system calls that no node needs and the old version never made: {}",
                    names.join(", ")
                )
            }
        }
    }
}

/// An exit, to a person.
pub fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::WallTime => "the time limit".to_owned(),
    }
}

/// Writes the report. `seen` is absent where a migration failed and nothing was started.
pub(super) fn report(
    release: &Release,
    config: &Config,
    rehearsal: Rehearsal,
    seen: Option<Seen>,
    (measures, mirrored): (Option<Measures>, Option<Mirrored>),
    allowed: &BTreeSet<String>,
) -> Report {
    let Rehearsal { runs: migrations, identity, left_out } = rehearsal;
    let mut reasons = Vec::new();
    let mut attempts = Vec::new();
    let mut unaccounted = 0;
    for run in &migrations {
        if !run.succeeded() {
            let (area, from, to) = (run.area.clone(), run.from, run.to);
            reasons.push(Reason::MigrationFailed { area, from, to, exit: run.exit });
        }
        if run.left_running > 0 {
            let (area, processes) = (run.area.clone(), run.left_running);
            reasons.push(Reason::MigrationLeftRunning { area, processes });
        }
        attempts.extend(judged(&run.attempts, allowed));
        unaccounted += run.unaccounted;
    }
    if let Some(made) = identity {
        reasons.extend(made.trouble.map(|why| Reason::NoIdentity { why }));
        attempts.extend(judged(&made.attempts, allowed));
        unaccounted += made.unaccounted;
    }
    if let Some(seen) = &seen {
        behaviour(release, seen, &mut reasons);
        attempts.extend(judged(&seen.attempts, allowed));
        unaccounted += seen.unaccounted;
    }
    if let Some(measures) = &measures {
        reasons.extend(measures.reasons(&config.shadow.limits));
    }
    // Live traffic is judged where a copy of the old version was asked the same.
    let answers = mirrored.as_ref().and_then(|mirrored| mirrored.answers.clone());
    let others = answers.filter(Answers::are_others);
    reasons.extend(others.map(|answers| Reason::OtherAnswers { answers }));
    let unexpected = attempts.iter().filter(|attempt| !attempt.expected);
    reasons.extend(unexpected.map(|attempt| Reason::PhonesHome { attempt: attempt.clone() }));
    if unaccounted > 0 {
        reasons.push(Reason::UnaccountedTraffic { packets: unaccounted });
    }
    Report {
        format: report::FORMAT,
        product: release.product.clone(),
        version: release.version.clone(),
        artifact: release.artifact.sha256,
        window_ms: report::millis(config.shadow.window),
        watched_ms: seen.as_ref().map_or(0, |s| report::millis(s.watched)),
        ready_after_ms: seen.as_ref().and_then(|s| s.ready_after.map(report::millis)),
        health: seen.as_ref().and_then(|s| s.health.clone()),
        ending: seen.as_ref().map(|s| Ending::new(s.early, s.exit, s.usage)),
        migrations,
        left_out,
        attempts,
        unaccounted,
        written: None,
        lowered: lowered(config, seen.as_ref()),
        telltales: report::telltales(),
        verdict: if reasons.is_empty() { Verdict::Cleared } else { Verdict::Refused { reasons } },
        output_end: String::new(),
        measures,
        mirrored,
        meeting: None,
    }
}

/// What it ran without: what this machine lacks and the operator lowered, and a memory limit that is "none".
fn lowered(config: &Config, seen: Option<&Seen>) -> Vec<Lowerable> {
    let none = config.shadow.memory.is_none().then_some(Lowerable::MemoryLimit);
    let gone_without = seen.into_iter().flat_map(|seen| seen.lowered.iter().copied());
    none.into_iter().chain(gone_without).collect()
}

fn behaviour(release: &Release, seen: &Seen, reasons: &mut Vec<Reason>) {
    if seen.early {
        reasons.push(Reason::EndedEarly { exit: seen.exit });
    } else if seen.ready_after.is_none() {
        reasons.push(Reason::NotReady { after_ms: report::millis(seen.waited) });
    } else if seen.exit == Exit::Signal(nix::sys::signal::Signal::SIGKILL as i32) {
        reasons.push(Reason::DoesNotStop { grace_ms: report::millis(seen.grace) });
    }
    if let Some((name, trouble)) = seen.failed_check.clone() {
        reasons.push(Reason::CheckFailed { name, trouble });
    }
    let Some(HealthSeen { path, trouble, product, version, .. }) = &seen.health else { return };
    if let Some(trouble) = trouble {
        reasons.push(Reason::Unhealthy { path: path.clone(), trouble: trouble.clone() });
    }
    if path != "/node/version" {
        return;
    }
    if let Some(says) = product.clone().filter(|says| says != release.product.as_str()) {
        reasons.push(Reason::OtherProduct { says, signed: release.product.to_string() });
    }
    if let Some(says) = version.clone().filter(|says| *says != release.version.to_string()) {
        reasons.push(Reason::OtherVersion { says, signed: release.version.to_string() });
    }
}

pub(super) fn judged<'a>(
    attempts: &'a [Attempt],
    allowed: &'a BTreeSet<String>,
) -> impl Iterator<Item = AttemptSeen> + 'a {
    attempts.iter().map(|attempt| AttemptSeen::new(attempt, expected(attempt, allowed)))
}

/// Whether an attempt goes where the release or the operator said it may. Asking DNS for a declared host is part of
/// reaching it.
fn expected(attempt: &Attempt, allowed: &BTreeSet<String>) -> bool {
    let name = attempt.name.as_deref().map(|n| n.trim_end_matches('.').to_ascii_lowercase());
    if let Some(other) = report::other_target(attempt.protocol, attempt.name.as_deref()) {
        return allowed.contains(&other);
    }
    let address = attempt.destination.map(|address| address.to_string()).unwrap_or_default();
    allowed.iter().filter_map(|entry| entry.rsplit_once(':')).any(|(host, port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let same_host = match (&name, attempt.protocol) {
            (Some(name), _) => *name == host,
            (None, Protocol::Dns) => false,
            (None, _) => address == host,
        };
        let same_port = attempt.port.is_some_and(|p| p.to_string() == port);
        same_host && (attempt.protocol == Protocol::Dns || same_port)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn attempt(protocol: Protocol, destination: &str, port: u16, name: Option<&str>) -> Attempt {
        Attempt {
            after: Duration::ZERO,
            protocol,
            destination: Some(destination.parse().unwrap()),
            port: Some(port),
            name: name.map(str::to_owned),
            count: 1,
            processes: Vec::new(),
            first_bytes: Vec::new(),
            server_name: None,
        }
    }

    #[test]
    fn only_declared_hosts_on_declared_ports_are_expected() {
        let allowed =
            BTreeSet::from(["time.example.org:123".to_owned(), "192.0.2.7:443".to_owned()]);
        let sink = "198.18.0.1";
        for (protocol, destination, port, name, wanted) in [
            (Protocol::Dns, "192.0.2.1", 53, Some("Time.Example.org."), true),
            (Protocol::Udp, sink, 123, Some("time.example.org"), true),
            (Protocol::Tcp, "192.0.2.7", 443, None, true),
            (Protocol::Udp, sink, 124, Some("time.example.org"), false),
            (Protocol::Udp, sink, 123, Some("evil.example.org"), false),
            (Protocol::Dns, "192.0.2.1", 53, Some("evil.example.org"), false),
            (Protocol::Dns, "192.0.2.7", 443, None, false),
            (Protocol::Tcp, "192.0.2.8", 443, None, false),
            // An address which DNS gave out for another name is that name's.
            (Protocol::Tcp, "192.0.2.7", 443, Some("evil.example.org"), false),
        ] {
            let attempt = attempt(protocol, destination, port, name);
            assert_eq!(expected(&attempt, &allowed), wanted, "{attempt:?}");
        }
    }

    #[test]
    fn what_has_no_address_is_expected_by_its_own_word_only() {
        let allowed = BTreeSet::from(["unix:/dev/log".to_owned(), "io-uring".to_owned()]);
        assert!(allowed.iter().all(|target| report::is_other(target)));
        for (protocol, name, wanted) in [
            (Protocol::Unix, Some("/dev/log"), true),
            (Protocol::Unix, Some("/run/docker.sock"), false),
            (Protocol::IoUring, None, true),
            (Protocol::Raw, None, false),
            (Protocol::Family(31), None, false),
        ] {
            let mut attempt = attempt(protocol, "192.0.2.1", 1, name);
            (attempt.destination, attempt.port) = (None, None);
            assert_eq!(expected(&attempt, &allowed), wanted, "{attempt:?}");
        }
    }

    #[test]
    fn a_sentence_says_who_did_it_and_what_was_to_be_sent() {
        let mut attempt = attempt(Protocol::Tcp, "203.0.113.5", 443, Some("evil.example.org"));
        attempt.count = 2;
        let process = |pid, command: &str| countersign_sandbox::Process {
            pid,
            command: command.to_owned(),
            program: None,
        };
        attempt.processes = vec![process(7, "node"), process(9, "a\u{1b}b")];
        attempt.first_bytes = b"GET /\r\n".to_vec();
        let told = AttemptSeen::new(&attempt, false).to_string();
        let wanted = r#"TCP to evil.example.org (203.0.113.5) port 443, 2 times, by node (pid 7) and a\u{1b}b (pid 9), saying "GET /\r\n""#;
        assert_eq!(told, wanted);
        attempt.protocol = Protocol::Unix;
        (attempt.destination, attempt.port, attempt.name) = (None, None, Some("/dev/log".into()));
        attempt.first_bytes.clear();
        attempt.processes.truncate(1);
        let told = AttemptSeen::new(&attempt, false).to_string();
        assert_eq!(told, "the unix socket /dev/log, 2 times, by node (pid 7)");
    }
}
