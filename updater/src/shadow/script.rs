//! The script of a release: its requests, asked of the new version and of the old one in turn, all through the window.

use std::fmt;
use std::time::{Duration, Instant};

use countersign_metadata::node::{HttpRequest, RawRequest, Scripted, ShadowSpec};
use countersign_sandbox::Running;
use serde::{Deserialize, Serialize};

use super::line::{End, Line};
use super::normal::{Normaliser, asked};
use super::replies::{Comparator, Compared, Reply, beyond_chance};
use crate::generation::Launch;

/// Rounds after which the number in a request begins anew: what it writes stays small.
const ROUNDS: u64 = 1000;

/// Settled differences that are looked for; one is enough to refuse.
const SETTLED: u32 = 16;

/// A script that runs.
#[derive(Debug)]
pub(super) struct Script {
    asks: Vec<Ask>,
    between: Duration,
    next: Instant,
    round: u64,
    comparator: Comparator,
    confirmed: u32,
    kept: Kept,
}

/// One request, and the lines to both versions.
#[derive(Debug)]
struct Ask {
    request: Scripted,
    end: End,
    new: Line,
    /// `None`: the old version has no such socket.
    old: Option<Line>,
}

/// How answers kept to what the release expects of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Requests that the new version was asked.
    pub asked: u64,
    /// Answers of it with another status than the release expects.
    pub unexpected: u64,
    /// Requests to which it gave no answer.
    pub unanswered: u64,
    /// Requests that the old version was asked.
    pub old_asked: u64,
    /// The same of the old version, where it was asked.
    pub old_unexpected: u64,
    /// The same of the old version, where it was asked.
    pub old_unanswered: u64,
    /// The first answer that was not as expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Unexpected>,
}

/// An answer that was not as the release expects it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unexpected {
    /// The request's method and path, or its first line.
    pub request: String,
    /// The status that the release expects, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u16>,
    /// What came instead.
    pub came: String,
}

impl Script {
    /// `None`: the release has no script.
    pub(super) fn new(spec: &ShadowSpec, new: &Launch, old: Option<&Launch>) -> Option<Self> {
        let ask = |request: &Scripted| {
            let (name, end) = match request {
                Scripted::Http(HttpRequest { listen, method, .. }) => {
                    (listen, End::Http { head: method == "HEAD" })
                }
                Scripted::Raw(RawRequest { listen, until, .. }) => {
                    (listen, End::With(until.clone().into_bytes()))
                }
            };
            Some(Ask {
                request: request.clone(),
                end,
                new: Line::new(new.address(name)?),
                old: old.and_then(|old| old.address(name)).map(Line::new),
            })
        };
        let asks: Vec<_> = spec.requests.iter().filter_map(ask).collect();
        (!asks.is_empty()).then(|| Self {
            asks,
            between: Duration::from_secs(1) / spec.rate.max(1),
            next: Instant::now(),
            round: 0,
            comparator: Comparator::new(Normaliser::new(&spec.same)),
            confirmed: 0,
            kept: Kept::default(),
        })
    }

    /// When the next round is due.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Asks every request once, of both versions; the old one before and after the new one.
    pub(super) fn round(&mut self, new: &Running, old: Option<&Running>) {
        let n = (self.round % ROUNDS).to_string();
        self.round += 1;
        for ask in &mut self.asks {
            let request = ask.request.bytes(&n);
            let expected = match &ask.request {
                Scripted::Http(http) => http.expect,
                Scripted::Raw(_) => None,
            };
            let Some((olds, news)) = ask.pairs(&request, new, old) else {
                let reply = ask.new.ask(new, &request, &ask.end);
                self.kept.count(&request, expected, &[reply], &[]);
                continue;
            };
            let [o, n] = [&olds, &news].map(|both| [&both[0], &both[1]]);
            // What the new version can do and the old one cannot is no other answer: the release says so.
            let kept = |reply: &Reply| expected.is_some() && reply.status == expected;
            let compared = if news.iter().all(kept) && !olds.iter().all(kept) {
                self.comparator.declared(n, o);
                Compared::Skipped
            } else {
                self.comparator.add_pairs(&request, n, o)
            };
            self.kept.count(&request, expected, &news, &olds);
            if compared == Compared::Steadily
                && self.confirmed < SETTLED
                && let Some((olds, news)) = ask.pairs(&request, new, old)
            {
                self.confirmed += 1;
                let [o, n] = [&olds, &news].map(|both| [&both[0], &both[1]]);
                let again = self.comparator.compare(n, o);
                self.comparator.settle(again);
            }
        }
        // Who is late begins the next round now; rounds that were missed are not made up for.
        self.next = (self.next + self.between).max(Instant::now());
    }

    /// What came of it.
    pub(super) fn finish(self) -> (Kept, Comparator) {
        (self.kept, self.comparator)
    }
}

impl Ask {
    fn pairs(
        &mut self,
        request: &[u8],
        new: &Running,
        old: Option<&Running>,
    ) -> Option<([Reply; 2], [Reply; 2])> {
        let (line, old) = self.old.as_mut().zip(old)?;
        let before = line.ask(old, request, &self.end);
        let news = [(); 2].map(|()| self.new.ask(new, request, &self.end));
        let after = line.ask(old, request, &self.end);
        Some(([before, after], news))
    }
}

trait Bytes {
    /// As it is sent in round `n`.
    fn bytes(&self, n: &str) -> Vec<u8>;
}

impl Bytes for Scripted {
    fn bytes(&self, n: &str) -> Vec<u8> {
        match self {
            Self::Raw(RawRequest { send, .. }) => send.replace("{n}", n).into_bytes(),
            Self::Http(HttpRequest { method, path, body, .. }) => {
                let (path, body) = (path.replace("{n}", n), body.replace("{n}", n));
                let length = match method.as_str() {
                    "GET" | "HEAD" if body.is_empty() => String::new(),
                    _ => format!("Content-Length: {}\r\n", body.len()),
                };
                format!(
                    "{method} {path} HTTP/1.1\r\nHost: node\r\nAccept: */*\r\n{length}\r\n{body}"
                )
                .into_bytes()
            }
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, unexpected, unanswered, example, .. } = self;
        write!(
            f,
            "of {asked} requests of its script, {unexpected} were answered otherwise than it expects, and {unanswered} \
             not at all"
        )?;
        match example {
            Some(Unexpected { request, expected: Some(expected), came }) => {
                write!(f, " ({request}: {came} instead of status {expected})")
            }
            Some(Unexpected { request, expected: None, came }) => write!(f, " ({request}: {came})"),
            None => Ok(()),
        }
    }
}

impl Kept {
    /// Whether that is the new version's fault. Without the old one beside it, an answer that is another is, and one in a
    /// hundred that never came.
    pub(super) fn speaks_against(&self) -> bool {
        let (new, old) =
            (self.unexpected + self.unanswered, self.old_unexpected + self.old_unanswered);
        match self.old_asked {
            0 => self.unexpected > 0 || self.unanswered.saturating_mul(100) > self.asked,
            _ => beyond_chance(new, old),
        }
    }

    fn count(&mut self, request: &[u8], expected: Option<u16>, new: &[Reply], old: &[Reply]) {
        let unanswered = |reply: &&Reply| reply.failure.is_some();
        let other = |reply: &&Reply| {
            reply.failure.is_none() && expected.is_some_and(|wanted| reply.status != Some(wanted))
        };
        let many = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.asked += many(new.len());
        self.old_asked += many(old.len());
        self.unanswered += many(new.iter().filter(unanswered).count());
        self.unexpected += many(new.iter().filter(other).count());
        self.old_unanswered += many(old.iter().filter(unanswered).count());
        self.old_unexpected += many(old.iter().filter(other).count());
        let first = new.iter().find(|reply| unanswered(reply) || other(reply));
        if let Some(reply) = first.filter(|_| self.example.is_none()) {
            self.example =
                Some(Unexpected { request: asked(request), expected, came: reply.told() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_with_the_number_of_its_round() {
        let request =
            |json: serde_json::Value| -> Scripted { serde_json::from_value(json).unwrap() };
        let get = request(serde_json::json!({ "listen": "http", "path": "/kv/{n}" }));
        assert_eq!(
            String::from_utf8(get.bytes("7")).unwrap(),
            "GET /kv/7 HTTP/1.1\r\nHost: node\r\nAccept: */*\r\n\r\n"
        );
        let put = request(serde_json::json!(
            { "listen": "http", "method": "PUT", "path": "/", "body": "v{n}" }
        ));
        assert!(put.bytes("12").ends_with(b"Content-Length: 3\r\n\r\nv12"));
        let raw =
            request(serde_json::json!({ "listen": "x", "send": "get {n}\r\n", "until": "\n" }));
        assert_eq!(raw.bytes("3"), b"get 3\r\n");
    }
}
