//! What the new version takes, beside what the old one takes in the same sandbox, in the same minutes, at the same requests.
//!
//! A figure refuses a release above the operator's limit (`[shadow.limits]`): a ratio of the old version's figure plus an amount, so
//! that small numbers do not alarm. Three figures must say more than that, because they are the noisiest: *growth* must have
//! been seen over two seconds at least, and have come to 2 MiB more than the old version's; times of answers need a hundred answers
//! of each; and for the *slow* ones, so many more answers than the old version's must be above the limit that
//! chance does not explain it.

use countersign_metadata::Version;
use countersign_sandbox::Exit;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::calls::Calls;
use super::judge::Reason;
use super::replies::{Answers, Times, beyond_chance};
use super::report::Ending;
use super::script::Kept;
use super::series::Series;
use super::watch::Seen;
use crate::config::{Limit, Limits};

/// Growth that is less than this over the window, in bytes, cannot be told from warming up.
const WARMING_UP: u64 = 2 << 20;

/// What it is asked to end with, and what ends one that does not.
const TERM: i32 = Signal::SIGTERM as i32;
const KILL: i32 = Signal::SIGKILL as i32;

/// Fewer answers have no median and no slowest of a hundred.
const TIMED: usize = 100;

/// The section `measures` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measures {
    /// What it was compared with.
    pub beside: Beside,
    /// New beside old.
    pub figures: Vec<Figure>,
    /// How the answers to the release's script were; absent without a script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<Kept>,
    /// How the answers of the two versions to the script compare; absent where they were not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// System calls; absent where they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Calls>,
    /// How the old version ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_ending: Option<Ending>,
    /// How the two ended when they were asked to, where the new one ended worse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_worse: Option<(Exit, Exit)>,
    /// What the new version held, by time.
    pub new_series: Series,
    /// What the old version held, by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_series: Option<Series>,
}

/// What a release was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beside {
    /// The version that runs, in a sandbox of its own.
    Version(Version),
    /// Nothing, and why.
    Nothing(String),
}

/// One figure of both versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// Which.
    pub what: What,
    /// The new version's.
    pub new: u64,
    /// The old version's, if it was measured.
    pub old: Option<u64>,
    /// The highest that is allowed beside the old version's; `None`: any.
    pub limit: Option<u64>,
    /// Whether it is above that.
    pub verdict: Stands,
}

/// What a figure is of, and in which unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// From its start until it was ready, in microseconds.
    Start,
    /// Processor time in a second, in microseconds.
    Cpu,
    /// The most memory that its processes held, in bytes.
    Memory,
    /// By how much that grows in a minute, in bytes.
    Growth,
    /// The most descriptors.
    Descriptors,
    /// The most threads.
    Threads,
    /// Bytes written to the disk.
    Written,
    /// The median answer, in microseconds.
    Latency,
    /// The slowest answer of a hundred, in microseconds.
    Slow,
    /// Lines of output that are errors.
    Errors,
}

/// Where a figure stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stands {
    /// Not above its limit.
    Within,
    /// Above it.
    Over,
    /// There is no limit, or nothing to compare with.
    Reported,
}

impl What {
    /// What it is, to a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start-up",
            Self::Cpu => "processor time a second",
            Self::Memory => "peak memory",
            Self::Growth => "memory growth a minute",
            Self::Descriptors => "open descriptors",
            Self::Threads => "threads",
            Self::Written => "bytes written to the disk",
            Self::Latency => "median answer",
            Self::Slow => "slowest answer of a hundred",
            Self::Errors => "error lines",
        }
    }

    /// A figure in its unit, to a person.
    pub fn text(self, figure: u64) -> String {
        let hundredths = |unit: u64| format!("{}.{:02}", figure / unit, figure % unit * 100 / unit);
        match self {
            Self::Start | Self::Cpu | Self::Latency | Self::Slow => {
                format!("{} ms", hundredths(1000))
            }
            Self::Memory | Self::Growth | Self::Written => format!("{} MiB", hundredths(1 << 20)),
            Self::Descriptors | Self::Threads | Self::Errors => figure.to_string(),
        }
    }
}

impl Measures {
    /// Whether it was compared with anything.
    pub fn is_beside(&self) -> bool {
        matches!(self.beside, Beside::Version(_))
    }

    /// What of it speaks against the release.
    pub(super) fn reasons(&self, limits: &Limits) -> Vec<Reason> {
        let over = self.figures.iter().filter(|figure| figure.verdict == Stands::Over);
        let mut reasons: Vec<_> =
            over.map(|figure| Reason::TakesMore { figure: figure.clone() }).collect();
        if let Some((exit, old)) = self.ends_worse {
            reasons.push(Reason::EndsWorse { exit, old });
        }
        if let Some(script) = self.script.clone().filter(Kept::speaks_against) {
            reasons.push(Reason::UnexpectedAnswers { script });
        }
        if let Some(answers) = self.answers.clone().filter(Answers::are_others)
            && limits.answers
        {
            reasons.push(Reason::OtherAnswers { answers });
        }
        let dangerous = self.calls.as_ref().map(|calls| calls.dangerous.clone());
        if let Some(calls) = dangerous.filter(|calls| !calls.is_empty() && limits.calls) {
            reasons.push(Reason::DangerousCalls { calls });
        }
        reasons
    }

    /// What there is to say beside the figures.
    pub fn sentences(&self) -> Vec<String> {
        let mut said = vec![match &self.beside {
            Beside::Version(version) => format!("It ran beside version {version}."),
            Beside::Nothing(why) => format!("It was compared with nothing: {why}."),
        }];
        if let Some(script) = &self.script {
            let Kept { asked, unexpected, unanswered, .. } = script;
            said.push(format!(
                "{asked} requests of its script: {unexpected} answered otherwise than it expects, {unanswered} not at all."
            ));
        }
        if let Some(answers) = &self.answers {
            let Answers { asked, same, differ, noise, unsteady, skipped, .. } = answers;
            said.push(format!(
                "{asked} of them compared with the old version: {same} the same, {differ} otherwise, {noise} where the \
                 old version wavered, {unsteady} where both did, {skipped} left out."
            ));
        }
        if let Some(Calls { new, .. }) = self.calls.as_ref().filter(|calls| !calls.new.is_empty()) {
            let names: Vec<_> = new.iter().map(String::as_str).collect();
            said.push(format!(
                "System calls that the old version never made: {}.",
                names.join(", ")
            ));
        }
        said
    }

    /// New beside old, a line each: what, new, old, limit, where it stands.
    pub fn table(&self) -> Vec<[String; 5]> {
        let line = |figure: &Figure| {
            let text = |value: Option<u64>| value.map_or("-".to_owned(), |v| figure.what.text(v));
            let stands = match figure.verdict {
                Stands::Within => "ok",
                Stands::Over => "over",
                Stands::Reported => "",
            };
            [
                figure.what.name().to_owned(),
                text(Some(figure.new)),
                text(figure.old),
                text(figure.limit),
                stands.to_owned(),
            ]
        };
        self.figures.iter().map(line).collect()
    }
}

/// Whether the new version fails or crashes when it is asked to end, and the old one does not do so. One that ended before,
/// or did not end, is told elsewhere.
pub(super) fn ends_worse(new: &Seen, old: &Seen) -> Option<(Exit, Exit)> {
    let rank = |exit: Exit| match exit {
        Exit::Code(0) | Exit::Signal(TERM) => 0,
        Exit::Code(_) => 1,
        Exit::Signal(_) | Exit::WallTime => 2,
    };
    let told = new.early || old.early || new.exit == Exit::Signal(KILL);
    (!told && rank(new.exit) > rank(old.exit)).then_some((new.exit, old.exit))
}

/// One version, as it was seen.
pub(super) struct Side<'a> {
    pub(super) seen: &'a Seen,
    /// Lines of its output that are errors.
    pub(super) errors: u64,
}

/// Every figure that the new version has.
pub(super) fn figures(
    limits: &Limits,
    new: &Side<'_>,
    old: Option<&Side<'_>>,
    times: &Times,
) -> Vec<Figure> {
    let plain = |what, limit: Limit, of: &dyn Fn(&Side<'_>) -> Option<u64>| {
        let (new, old) = (of(new)?, old.and_then(of));
        Some(figure(what, limit, new, old, |_| true))
    };
    let most = |list: &[u64]| list.iter().copied().max().filter(|most| *most > 0);
    let start = |side: &Side<'_>| {
        side.seen.ready_after.map(|after| u64::try_from(after.as_micros()).unwrap_or(u64::MAX))
    };
    let written = |side: &Side<'_>| side.seen.series.written.last().copied();
    let cpu = |side: &Side<'_>| side.seen.series.cpu_a_second();
    let mut found = vec![
        plain(What::Start, limits.start, &start),
        plain(What::Cpu, limits.cpu, &cpu),
        plain(What::Memory, limits.memory, &|side| most(&side.seen.series.memory)),
        growth(limits.growth, new, old),
        plain(What::Descriptors, limits.descriptors, &|side| most(&side.seen.series.descriptors)),
        plain(What::Threads, limits.threads, &|side| most(&side.seen.series.threads)),
        plain(What::Written, limits.written, &written),
        plain(What::Errors, limits.errors, &|side| Some(side.errors)),
    ];
    found.extend(latencies(limits, times));
    found.into_iter().flatten().collect()
}

/// `sure` is asked with the limit, where the figure is above it.
fn figure(
    what: What,
    limit: Limit,
    new: u64,
    old: Option<u64>,
    sure: impl Fn(u64) -> bool,
) -> Figure {
    let limit = old.and_then(|old| limit.beside(old));
    let verdict = match limit {
        None => Stands::Reported,
        Some(limit) if new > limit && sure(limit) => Stands::Over,
        Some(_) => Stands::Within,
    };
    Figure { what, new, old, limit, verdict }
}

fn growth(limit: Limit, new: &Side<'_>, old: Option<&Side<'_>>) -> Option<Figure> {
    let (new, here) = new.seen.series.growth()?;
    let old = old.and_then(|old| old.seen.series.growth());
    let there = old.map_or(0, |(_, there)| there);
    let lasting = |_| here.saturating_sub(there) >= WARMING_UP;
    Some(figure(What::Growth, limit, new, old.map(|(old, _)| old), lasting))
}

fn latencies(limits: &Limits, times: &Times) -> [Option<Figure>; 2] {
    let sorted = |times: &[u64]| {
        let mut times = times.to_vec();
        times.sort_unstable();
        (times.len() >= TIMED).then_some(times)
    };
    let (Some(new), Some(old)) = (sorted(&times.new), sorted(&times.old)) else {
        return [None, None];
    };
    let at = |times: &[u64], hundredth: usize| times.get(times.len() * hundredth / 100).copied();
    let above = |times: &[u64], limit: u64| {
        let many = times.len() - times.partition_point(|time| *time <= limit);
        u64::try_from(many).unwrap_or(u64::MAX)
    };
    let median =
        at(&new, 50).map(|n| figure(What::Latency, limits.latency, n, at(&old, 50), |_| true));
    let slow = at(&new, 99).map(|n| {
        let sure = |limit| beyond_chance(above(&new, limit), above(&old, limit));
        figure(What::Slow, limits.slow, n, at(&old, 99), sure)
    });
    [median, slow]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(new: impl Fn(u64) -> u64, old: impl Fn(u64) -> u64) -> Times {
        Times { new: (0..1000).map(new).collect(), old: (0..1000).map(old).collect() }
    }

    fn verdicts(times: &Times) -> Vec<(What, Stands)> {
        let found = latencies(&Limits::default(), times);
        found.into_iter().flatten().map(|figure| (figure.what, figure.verdict)).collect()
    }

    #[test]
    fn answers_are_slow_where_their_median_is_or_many_of_a_hundred_are() {
        use Stands::{Over, Within};
        let (median, slow) = (What::Latency, What::Slow);
        let usual = |n| 500 + n % 100;
        assert_eq!(verdicts(&times(usual, usual)), [(median, Within), (slow, Within)]);
        assert_eq!(verdicts(&times(|_| 10_000, usual)), [(median, Over), (slow, Within)]);
        let some = |n: u64| if n.is_multiple_of(50) { 200_000 } else { 500 };
        assert_eq!(verdicts(&times(some, usual)), [(median, Within), (slow, Over)]);
        assert_eq!(verdicts(&times(some, some)), [(median, Within), (slow, Within)]);
        let few = Times { new: vec![1; 99], old: vec![1; 99] };
        assert_eq!(verdicts(&few), []);
    }

    #[test]
    fn a_figure_without_an_old_one_is_reported_and_nothing_more() {
        let limit = Limits::default().threads;
        let alone = figure(What::Threads, limit, 1000, None, |_| true);
        assert_eq!((alone.verdict, alone.limit), (Stands::Reported, None));
        let beside = |new| figure(What::Threads, limit, new, Some(10), |_| true);
        assert_eq!((beside(31).verdict, beside(32).verdict), (Stands::Within, Stands::Over));
        assert_eq!(beside(32).limit, Some(31));
        assert_eq!(What::Memory.text(1_572_864), "1.50 MiB");
        assert_eq!(What::Start.text(2_005), "2.00 ms");
    }
}
