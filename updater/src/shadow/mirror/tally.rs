//! What came of mirrored traffic: the report's section `mirrored`.

use std::collections::BTreeMap;

use countersign_metadata::node::Same;
use serde::{Deserialize, Serialize};

use super::super::http::NotCompared;
use super::talk::Said;
use super::udp::Datagrams;
use crate::shadow::normal::Normaliser;
use crate::shadow::replies::{Answers, Comparator, Reply};
use crate::supervise::Share;

/// Times that are kept of each version.
const TIMES: usize = 100_000;

/// What live clients said while a release was tried, and how its answers compare with the live node's.
///
/// A difference from the live node is no reason by itself: the copy lacks what other clients write meanwhile. Where a copy of
/// the old version was asked the same, `answers` tells one from the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirrored {
    /// The share of new connections that was asked for, in millionths.
    pub share: u32,
    /// Why nothing, or nothing more, was mirrored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Sockets that were not mirrored, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<(String, String)>,
    /// Connections that went through the tee.
    pub connections: u64,
    /// Those of them whose copies were dropped, at least in part: nobody waits for the shadow.
    pub dropped: u64,
    /// Those that are not compared, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_compared: BTreeMap<String, u64>,
    /// Requests that the live node answered, and that were asked of the shadow.
    pub exchanges: u64,
    /// Requests that the live node answered, and that the shadow was too far behind for.
    pub not_asked: u64,
    /// Exchanges to which the shadow gave no answer, by the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, u64>,
    /// Exchanges where its status is another.
    pub differing_status: u64,
    /// Exchanges where its status is the same, and its answer another by what the release declares.
    pub differing_body: u64,
    /// Datagrams, by the UDP ports that the release declares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub udp: Vec<Datagrams>,
    /// How the shadow's answers compare with those of a copy of the old version and of the live node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// How long the live node took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Took>,
    /// How long the shadow took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Took>,
    /// How long the copy of the old version took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Took>,
}

impl Mirrored {
    /// What there is to say of it.
    pub fn sentences(&self) -> Vec<String> {
        let share = f64::from(self.share) / 10_000.0;
        let mut said = vec![format!(
            "Live traffic, {share} % of new connections: {} mirrored, {} of them cut short; {} requests asked of it, {} not.",
            self.connections, self.dropped, self.exchanges, self.not_asked
        )];
        said.extend(
            self.trouble.iter().map(|why| format!("It was not mirrored all the time: {why}.")),
        );
        said.extend(
            self.left_out
                .iter()
                .map(|(socket, why)| format!("Socket {socket} was left out: {why}.")),
        );
        let reasons =
            self.not_compared.iter().map(|(why, count)| (count, "connections not compared", why));
        let failures =
            self.failed.iter().map(|(why, count)| (count, "requests without an answer", why));
        said.extend(
            reasons.chain(failures).map(|(count, what, why)| format!("{count} {what}: {why}.")),
        );
        if let Some(Answers { asked, same, differ, noise, unsteady, .. }) = &self.answers {
            said.push(format!(
                "{asked} answers beside the old version's and the live node's: {same} the same, {differ} otherwise, {noise} where \
                 the old version wavered, {unsteady} where nobody agreed."
            ));
        }
        for udp in &self.udp {
            said.push(match &udp.trouble {
                Some(why) => format!("UDP port {} was not mirrored: {why}.", udp.port),
                None => format!(
                    "UDP port {}: {} datagrams, {} answered by the live node; {} of those not by it, {} otherwise.",
                    udp.port, udp.requests, udp.answered, udp.unanswered, udp.differing
                ),
            });
        }
        said
    }

    /// Who answered how fast: half of the answers, and 99 in 100, in milliseconds.
    pub fn table(&self) -> Vec<[String; 3]> {
        let shown = |us: u64| format!("{:.2} ms", us as f64 / 1000.0);
        let line = |who: &str, took: &Option<Took>| {
            took.map(|Took { p50_us, p99_us }| [who.to_owned(), shown(p50_us), shown(p99_us)])
        };
        let all = [
            ("live", &self.live),
            ("new, in the shadow", &self.shadow),
            ("old, in the shadow", &self.old),
        ];
        all.into_iter().filter_map(|(who, took)| line(who, took)).collect()
    }
}

/// From a request's last byte to its reply's, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// Of half of them at most.
    pub p50_us: u64,
    /// Of 99 in 100 at most.
    pub p99_us: u64,
}

/// Counts while it happens.
#[derive(Debug, Default)]
pub(super) struct Tally {
    seen: Mirrored,
    normaliser: Normaliser,
    comparator: Comparator,
    compared: bool,
    opened: u64,
    live: Vec<u64>,
    shadow: Vec<u64>,
    old: Vec<u64>,
}

impl Tally {
    pub(super) fn new(share: Share, left_out: &[(String, String)], same: &Same) -> Self {
        let left_out = left_out.to_vec();
        Self {
            seen: Mirrored { share: share.into(), left_out, ..Mirrored::default() },
            normaliser: Normaliser::new(same),
            comparator: Comparator::new(Normaliser::new(same)),
            ..Self::default()
        }
    }

    pub(super) fn trouble(&mut self, why: String) {
        self.seen.trouble.get_or_insert(why);
    }

    /// A connection goes through the tee.
    pub(super) fn opened(&mut self) {
        self.opened += 1;
    }

    /// As the tee counts, now and then.
    pub(super) fn connections(&mut self, taken: u64, lost: u64) {
        (self.seen.connections, self.seen.dropped) = (taken, lost);
    }

    pub(super) fn not_compared(&mut self, why: NotCompared) {
        *self.seen.not_compared.entry(why.name().to_owned()).or_default() += 1;
    }

    pub(super) fn not_asked(&mut self, count: u64) {
        self.seen.not_asked += count;
    }

    /// What the shadow said to what was said live, and a copy of the old version if there is one.
    pub(super) fn answered(&mut self, said: &Said, new: &Reply, old: Option<&Reply>) {
        self.seen.exchanges += 1;
        keep(&mut self.live, &said.reply);
        keep(&mut self.shadow, new);
        if let Some(old) = old {
            self.compared = true;
            keep(&mut self.old, old);
            self.comparator.add(&said.request, new, old, Some(&said.reply));
        }
        if let Some(why) = &new.failure {
            *self.seen.failed.entry(why.clone()).or_default() += 1;
        } else if new.status != said.reply.status {
            self.seen.differing_status += 1;
        } else if !self.normaliser.same(new, &said.reply) {
            self.seen.differing_body += 1;
        }
    }

    /// What is counted of a UDP port.
    pub(super) fn datagrams(&mut self, port: u16) -> &mut Datagrams {
        let all = &mut self.seen.udp;
        let at = all.iter().position(|one| one.port == port).unwrap_or_else(|| {
            all.push(Datagrams { port, ..Datagrams::default() });
            all.len() - 1
        });
        &mut all[at]
    }

    pub(super) fn finish(mut self) -> Mirrored {
        self.seen.connections = self.seen.connections.max(self.opened);
        self.seen.live = took(&mut self.live);
        self.seen.shadow = took(&mut self.shadow);
        self.seen.old = took(&mut self.old);
        self.seen.answers = self.compared.then(|| self.comparator.finish().0);
        self.seen
    }
}

impl Mirrored {
    /// Nothing was mirrored, for this reason.
    pub(super) fn nothing(share: Share, why: String) -> Self {
        Self { share: share.into(), trouble: Some(why), ..Self::default() }
    }
}

/// How long an answer took, if there was one.
fn keep(times: &mut Vec<u64>, reply: &Reply) {
    if times.len() < TIMES && reply.failure.is_none() {
        times.push(u64::try_from(reply.took.as_micros()).unwrap_or(u64::MAX));
    }
}

fn took(times: &mut [u64]) -> Option<Took> {
    times.sort_unstable();
    let at =
        |percent: usize| times.get((times.len() * percent / 100).min(times.len().checked_sub(1)?));
    Some(Took { p50_us: *at(50)?, p99_us: *at(99)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_all_that_was_timed() {
        assert_eq!(took(&mut []), None);
        assert_eq!(took(&mut [7]), Some(Took { p50_us: 7, p99_us: 7 }));
        let mut times: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(took(&mut times), Some(Took { p50_us: 101, p99_us: 199 }));
    }
}
