//! What came of a meeting of two versions, as a section of the report.

use std::fmt;

use countersign_metadata::Version;
use countersign_sandbox::Exit;
use serde::{Deserialize, Serialize};

use super::judge::{Reason, exit_text};
use super::measures::Beside;
use super::report::{Report, Verdict};

/// The section `meeting` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// Whom it met.
    pub with: Beside,
    /// The protocols that both speak, if both say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocols: Option<Protocols>,
    /// The exchanges; none where no protocol is common to both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<Pair>,
}

/// Oldest and newest protocol of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocols {
    /// The new version's.
    pub new: (u32, u32),
    /// The old one's.
    pub old: (u32, u32),
}

/// One exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The version that began it.
    pub begun_by: Version,
    /// The other one.
    pub with: Version,
    /// How the command ended; absent if it never ran.
    pub exit: Option<Exit>,
    /// What else went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How long it took.
    pub took_ms: u64,
    /// The end of what the command printed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output_end: String,
}

impl Protocols {
    /// Whether there is one that both speak.
    pub fn overlap(&self) -> bool {
        let ((new_oldest, new_newest), (old_oldest, old_newest)) = (self.new, self.old);
        new_oldest <= old_newest && old_oldest <= new_newest
    }
}

impl Pair {
    /// Whether both understood each other.
    pub fn succeeded(&self) -> bool {
        self.exit == Some(Exit::Code(0)) && self.trouble.is_none()
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begun_by, with, exit, trouble, took_ms, .. } = self;
        write!(f, "the exchange that version {begun_by} began with version {with} ")?;
        match exit {
            Some(exit) => write!(f, "ended with {} after {took_ms} ms", exit_text(*exit))?,
            None => f.write_str("did not begin")?,
        }
        trouble.as_ref().map_or(Ok(()), |trouble| write!(f, ": {trouble}"))
    }
}

impl Meeting {
    pub(super) fn none(why: impl Into<String>) -> Self {
        Self { with: Beside::Nothing(why.into()), protocols: None, pairs: Vec::new() }
    }

    /// What there is to say of it.
    pub fn sentences(&self) -> Vec<String> {
        match &self.with {
            Beside::Nothing(why) => vec![format!("It met no other version: {why}.")],
            Beside::Version(version) => {
                let met = format!("It met version {version}.");
                let pairs = self.pairs.iter().map(|pair| format!("  {pair}"));
                std::iter::once(met).chain(pairs).collect()
            }
        }
    }

    /// What of it speaks against the release.
    fn reasons(&self) -> Vec<Reason> {
        let apart = self.protocols.filter(|protocols| !protocols.overlap());
        let apart = apart.map(|protocols| Reason::NoCommonProtocol { protocols });
        let failed = self.pairs.iter().filter(|pair| !pair.succeeded());
        apart
            .into_iter()
            .chain(failed.map(|pair| Reason::NotUnderstood { pair: pair.clone() }))
            .collect()
    }
}

impl Report {
    /// With what came of a meeting.
    pub(super) fn met(mut self, meeting: Option<Meeting>) -> Self {
        let more = meeting.as_ref().map(Meeting::reasons).unwrap_or_default();
        if !more.is_empty() {
            let mut all = match self.verdict {
                Verdict::Cleared => Vec::new(),
                Verdict::Refused { reasons } => reasons,
            };
            all.extend(more);
            self.verdict = Verdict::Refused { reasons: all };
        }
        self.meeting = meeting;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_common_protocol_is_enough() {
        for (new, old, wanted) in [
            ((1, 2), (1, 1), true),
            ((2, 3), (1, 2), true),
            ((1, 1), (1, 2), true),
            ((2, 2), (1, 1), false),
            ((1, 1), (2, 3), false),
        ] {
            assert_eq!(Protocols { new, old }.overlap(), wanted, "{new:?} {old:?}");
        }
    }
}
