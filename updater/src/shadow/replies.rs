//! The comparator: whether the new version answers as the old one does, beyond the noise that the old one makes itself.
//!
//! Two ways to ask, one rule. *Live traffic*: a request was answered by the live node; copies of the old and of the new version
//! are asked the same. *The script*: the old copy is asked, the new one twice, the old one again: whatever drifts with time
//! or with what was asked before shows as an old copy that disagrees with itself.
//!
//! An answer of the new version *differs* only where the references agree (the live node and the old copy, or the old copy
//! twice) and it says something else. Where the old copy is the odd one instead, that is *noise*. A clean release and
//! the old version are exchangeable, so each such event falls on either with even odds: of n events, the new version's share
//! is Binomial(n, 1/2), whatever the noise is like, and without an estimate of it. The release is refused where a share so large
//! has a chance below 1 in 1000: 10 of 10, 16 of 18, 70 of 107. So wrong answers in 1 of 100 are found within some
//! 500 requests of the script (each asks the new version twice), or some 2000 of live traffic.
//!
//! *Settled*: both answers of the new version are the same, both of the old one are, the two are not, and it was so again when all
//! were asked again. Noise does not do that: one is enough.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::normal::{Normaliser, asked};

/// Bytes of a body that are kept and compared.
pub(crate) const MAX_BODY: usize = 64 << 10;

/// Differences that the report shows.
const SHOWN: usize = 8;

/// Times of answers that are kept of each version.
const TIMES: usize = 100_000;

/// One answer, or why there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The HTTP status; `None`: it is no HTTP.
    pub(crate) status: Option<u16>,
    /// The HTTP headers, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, or all of what is no HTTP; at most [`MAX_BODY`] bytes.
    pub(crate) body: Vec<u8>,
    /// From the request's last byte to the answer's last.
    pub(crate) took: Duration,
    /// Why there was no answer, by a name that is the same for the same trouble.
    pub(crate) failure: Option<String>,
}

impl Reply {
    /// Whatever came, as HTTP if it is that.
    pub(crate) fn parse(bytes: &[u8], took: Duration) -> Self {
        let raw = || Self { body: bounded(bytes), took, ..Self::default() };
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return raw() };
        let Ok(head) = std::str::from_utf8(&bytes[..end]) else { return raw() };
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
        let Some(status) = words.next().and_then(|word| word.parse().ok()).filter(|_| http) else {
            return raw();
        };
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let reply = Self { status: Some(status), headers, took, ..Self::default() };
        let body = bytes.get(end + 4..).unwrap_or_default();
        let chunked = reply.header("transfer-encoding").is_some_and(|coding| {
            coding.split(',').any(|word| word.trim().eq_ignore_ascii_case("chunked"))
        });
        let body = if chunked { unchunked(body) } else { bounded(body) };
        Self { body, ..reply }
    }

    /// No answer came. `name` is the same for the same trouble: it is compared.
    pub(crate) fn failed(name: impl Into<String>, took: Duration) -> Self {
        Self { failure: Some(name.into()), took, ..Self::default() }
    }

    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What it was, to a person. Bodies may be anybody's: their length is all that is told of them.
    pub(crate) fn told(&self) -> String {
        match (&self.failure, self.status) {
            (Some(failure), _) => failure.clone(),
            (None, Some(status)) => format!("status {status}, {} bytes", self.body.len()),
            (None, None) => format!("{} bytes", self.body.len()),
        }
    }
}

fn bounded(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(MAX_BODY)].to_vec()
}

/// The body in its chunks (RFC 9112, 7.1), as far as it came.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < MAX_BODY {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { break };
        let size = std::str::from_utf8(&rest[..end]).ok();
        let size = size.and_then(|line| {
            usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).ok()
        });
        let (Some(size), Some(data)) = (size.filter(|size| *size > 0), rest.get(end + 2..)) else {
            break;
        };
        body.extend_from_slice(&data[..data.len().min(size)]);
        rest = data.get(size.saturating_add(2)..).unwrap_or_default();
    }
    bounded(&body)
}

/// What the comparison says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// All said the same.
    Same,
    /// The references agree, and the new version said something else.
    Differs,
    /// The same, and each version agrees with itself: worth asking all of them again.
    Steadily,
    /// The new version agrees with a reference, and the old copy is the odd one.
    Noise,
    /// Nobody agrees, or nobody can tell.
    Unsteady,
    /// The release says that answers to it are not compared.
    Skipped,
}

/// Counts the answers of two versions to the same requests.
#[derive(Debug, Default)]
pub(crate) struct Comparator {
    normaliser: Normaliser,
    answers: Answers,
    times: Times,
}

/// How long answers took, in microseconds, in the order of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    /// The new version's.
    pub(crate) new: Vec<u64>,
    /// The old copy's.
    pub(crate) old: Vec<u64>,
}

impl Comparator {
    /// Compares what the release does not leave out.
    pub(crate) fn new(normaliser: Normaliser) -> Self {
        Self { normaliser, ..Self::default() }
    }

    /// One request of live traffic. Without the live node's answer nobody can tell who is the odd one.
    pub(crate) fn add(
        &mut self,
        request: &[u8],
        new: &Reply,
        old: &Reply,
        live: Option<&Reply>,
    ) -> Compared {
        self.time(&[new], &[old]);
        self.answers.asked += 1;
        if self.normaliser.skips(request) {
            return self.count(Compared::Skipped, request, new, old);
        }
        let same = |one, other| self.normaliser.same(one, other);
        let compared = match live {
            _ if same(new, old) => Compared::Same,
            Some(live) if same(old, live) => Compared::Differs,
            Some(live) if same(new, live) => Compared::Noise,
            _ => Compared::Unsteady,
        };
        self.count(compared, request, new, old)
    }

    /// One request of the script: the old copy's answers before and after the new version's.
    pub(crate) fn add_pairs(
        &mut self,
        request: &[u8],
        new: [&Reply; 2],
        old: [&Reply; 2],
    ) -> Compared {
        self.time(&new, &old);
        self.answers.asked += 1;
        if self.normaliser.skips(request) {
            return self.count(Compared::Skipped, request, new[0], old[0]);
        }
        let odd = if self.normaliser.same(new[0], old[0]) { new[1] } else { new[0] };
        self.count(self.compare(new, old), request, odd, old[0])
    }

    /// Compares, and counts nothing.
    pub(crate) fn compare(&self, new: [&Reply; 2], old: [&Reply; 2]) -> Compared {
        let same = |one, other| self.normaliser.same(one, other);
        match (same(old[0], old[1]), same(new[0], new[1])) {
            (true, true) if same(new[0], old[0]) => Compared::Same,
            (true, true) => Compared::Steadily,
            (true, false) => Compared::Differs,
            (false, true) => Compared::Noise,
            (false, false) => Compared::Unsteady,
        }
    }

    /// A request that differed steadily was asked again, with this result.
    pub(crate) fn settle(&mut self, again: Compared) {
        if again == Compared::Steadily {
            self.answers.settled += 1;
        }
    }

    /// A request that the new version answered as its release expects, and the old one did not: it is new.
    pub(crate) fn declared(&mut self, new: [&Reply; 2], old: [&Reply; 2]) {
        self.time(&new, &old);
        self.answers.asked += 1;
        self.answers.skipped += 1;
    }

    /// What was counted, and how long answers took.
    pub(crate) fn finish(self) -> (Answers, Times) {
        (self.answers, self.times)
    }

    fn time(&mut self, new: &[&Reply], old: &[&Reply]) {
        if self.times.new.len() >= TIMES {
            return;
        }
        let micros = |reply: &&Reply| u64::try_from(reply.took.as_micros()).unwrap_or(u64::MAX);
        self.times.new.extend(new.iter().map(micros));
        self.times.old.extend(old.iter().map(micros));
    }

    fn count(&mut self, compared: Compared, request: &[u8], new: &Reply, old: &Reply) -> Compared {
        let answers = &mut self.answers;
        answers.new_failed += u64::from(new.failure.is_some());
        answers.old_failed += u64::from(old.failure.is_some());
        match compared {
            Compared::Same => answers.same += 1,
            Compared::Differs | Compared::Steadily => answers.differ += 1,
            Compared::Noise => answers.noise += 1,
            Compared::Unsteady => answers.unsteady += 1,
            Compared::Skipped => answers.skipped += 1,
        }
        let differs = matches!(compared, Compared::Differs | Compared::Steadily);
        if differs && answers.examples.len() < SHOWN {
            let (new, old) = (new.told(), old.told());
            answers.examples.push(Difference { request: asked(request), new, old });
        }
        compared
    }
}

/// How the answers of two versions compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// Requests that both versions were asked.
    pub asked: u64,
    /// Those to which all answers were the same.
    pub same: u64,
    /// Those to which the references agreed, and the new version said something else.
    pub differ: u64,
    /// Of those, the ones that differed in the same way when all were asked again.
    #[serde(default)]
    pub settled: u64,
    /// Those where the old version was the odd one: the noise.
    pub noise: u64,
    /// Those to which nobody agreed.
    pub unsteady: u64,
    /// Those that the release takes out of the comparison.
    #[serde(default)]
    pub skipped: u64,
    /// Those to which the new version gave no answer.
    #[serde(default)]
    pub new_failed: u64,
    /// Those to which the old version gave no answer.
    #[serde(default)]
    pub old_failed: u64,
    /// The first that differed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<Difference>,
}

/// A request to which the two versions gave different answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Its method and path, or its first line.
    pub request: String,
    /// What the new version said, without content.
    pub new: String,
    /// What the old version said, without content.
    pub old: String,
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, differ, settled, noise, .. } = self;
        write!(f, "it answers {differ} of {asked} requests otherwise than the old version")?;
        match settled {
            0 => write!(f, ", which itself wavered at {noise}")?,
            settled => write!(f, ", {settled} of them again when asked again")?,
        }
        let Some(Difference { request, new, old }) = self.examples.first() else { return Ok(()) };
        write!(f, " ({request}: {new}; the old version: {old})")
    }
}

impl Answers {
    /// Whether the new version answers otherwise than the old one, beyond the noise.
    pub fn are_others(&self) -> bool {
        self.settled > 0 || beyond_chance(self.differ, self.noise)
    }
}

/// Whether, of events that fall on either of two with even odds, so many more fall on the one than on the other that the
/// chance of it is below 1 in 1000.
pub(crate) fn beyond_chance(one: u64, other: u64) -> bool {
    let n = one.saturating_add(other);
    if one <= n / 2 {
        return false;
    }
    // P(X >= one) for X ~ Binomial(n, 1/2), summed from its largest term down.
    let n_real = to_real(n);
    let choose: f64 = (1..=other).map(|i| (to_real(one + i) / to_real(i)).ln()).sum();
    let mut term = (choose - n_real * std::f64::consts::LN_2).exp();
    let (mut sum, mut at) = (0.0, one);
    while at <= n && term > sum * 1e-12 {
        sum += term;
        term *= to_real(n - at) / to_real(at + 1);
        at += 1;
    }
    sum < 1e-3
}

#[expect(clippy::cast_precision_loss, reason = "counts and microseconds lie far below 2^52")]
pub(crate) fn to_real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> Reply {
        let text = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
        Reply::parse(text.as_bytes(), Duration::from_millis(1))
    }

    /// A small generator of even noise; the seed says which.
    struct Noise(u64);

    impl Noise {
        fn one_in(&mut self, many: u64) -> bool {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33).is_multiple_of(many)
        }

        fn answer(&mut self, odd: Option<u64>) -> Reply {
            match odd {
                Some(odd) if self.one_in(odd) => reply(&format!("odd {}", self.0 >> 40)),
                _ => reply("right"),
            }
        }
    }

    fn script(seed: u64, rounds: u64, new: Option<u64>, old: Option<u64>) -> Answers {
        let (mut noise, mut comparator) = (Noise(seed), Comparator::default());
        for _ in 0..rounds {
            let olds = [noise.answer(old), noise.answer(old)];
            let news = [noise.answer(new), noise.answer(new)];
            comparator.add_pairs(b"GET /", [&news[0], &news[1]], [&olds[0], &olds[1]]);
        }
        comparator.finish().0
    }

    #[test]
    fn one_wrong_answer_in_a_hundred_is_found_also_in_the_old_versions_own_noise() {
        for seed in 1..=50 {
            assert!(script(seed, 1500, Some(100), None).are_others(), "seed {seed}");
            assert!(script(seed, 8000, Some(70), Some(200)).are_others(), "seed {seed}");
        }
    }

    #[test]
    fn a_version_that_is_as_noisy_as_the_old_one_is_no_other() {
        let alarms =
            |many| (1..=200).filter(move |seed| script(*seed, 1000, many, many).are_others());
        assert_eq!(alarms(None).count(), 0);
        assert!(alarms(Some(100)).count() <= 2);
        assert!(alarms(Some(4)).count() <= 2);
    }

    #[test]
    fn live_traffic_is_judged_by_what_the_live_node_said() {
        let mut comparator = Comparator::default();
        let (right, wrong) = (reply("right"), reply("wrong"));
        let mut add = |new, old, live| comparator.add(b"GET /", new, old, live);
        assert_eq!(add(&right, &right, Some(&wrong)), Compared::Same, "the live node went on");
        assert_eq!(add(&wrong, &right, Some(&right)), Compared::Differs);
        assert_eq!(add(&right, &wrong, Some(&right)), Compared::Noise);
        let other = reply("other");
        assert_eq!(add(&right, &wrong, Some(&other)), Compared::Unsteady);
        assert_eq!(add(&right, &wrong, None), Compared::Unsteady);
        let timeout = Reply::failed("timed out", Duration::ZERO);
        assert_eq!(add(&timeout, &timeout, None), Compared::Same);
        let (answers, times) = comparator.finish();
        assert_eq!((answers.asked, answers.same, answers.differ, answers.noise), (6, 2, 1, 1));
        assert_eq!((answers.new_failed, times.old.len()), (1, 6));
        assert_eq!(answers.examples[0].new, "status 200, 5 bytes");
    }

    #[test]
    fn what_drifts_while_it_is_asked_is_no_difference() {
        let mut comparator = Comparator::default();
        for count in 0..1000 {
            let at = |n: u32| reply(&(4 * count + n).to_string());
            let compared = comparator.add_pairs(b"GET /count", [&at(1), &at(2)], [&at(0), &at(3)]);
            assert_eq!(compared, Compared::Unsteady);
        }
        assert!(!comparator.finish().0.are_others());
    }

    #[test]
    fn one_settled_difference_is_enough() {
        let mut comparator = Comparator::default();
        let (a, b) = (reply("a"), reply("b"));
        let steadily = comparator.add_pairs(b"GET /lost", [&b, &b], [&a, &a]);
        assert_eq!(steadily, Compared::Steadily);
        assert!(!comparator.answers.are_others());
        comparator.settle(Compared::Same);
        assert!(!comparator.answers.are_others());
        comparator.settle(steadily);
        assert!(comparator.answers.are_others());
    }

    #[test]
    fn the_margin_is_the_binomials() {
        for (one, other, beyond) in [
            (9, 0, false),
            (10, 0, true),
            (14, 3, false),
            (15, 2, false),
            (16, 2, true),
            (69, 38, false),
            (70, 37, true),
            (5, 10, false),
            (50_000, 50_000, false),
            (50_600, 49_400, true),
        ] {
            assert_eq!(beyond_chance(one, other), beyond, "{one} {other}");
        }
    }

    #[test]
    fn an_answer_is_read_as_what_it_is() {
        let took = Duration::ZERO;
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(Reply::parse(chunked, took).body, b"abcde");
        let torn = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc";
        assert_eq!(Reply::parse(torn, took).body, b"abc");
        let raw = Reply::parse(b"OK 12\r\n\r\n", took);
        assert_eq!((raw.status, raw.body.as_slice()), (None, b"OK 12\r\n\r\n".as_slice()));
        let long = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; MAX_BODY + 1]].concat();
        assert_eq!(Reply::parse(&long, took).body.len(), MAX_BODY);
    }
}
