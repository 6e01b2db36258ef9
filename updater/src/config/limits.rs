//! `[shadow.limits]`: how much more than the old version a new one may take in the shadow.
//!
//! ```toml
//! [shadow.limits]              # refused above RATIO times the old version's figure plus so much; or "off"
//! start = "2x+5s"              # from its start until it is ready
//! cpu = "1.5x+100ms"           # processor time in a second
//! memory = "1.5x+16MiB"        # the most that it held
//! growth = "2x+16MiB"          # by how much that grows in a minute
//! descriptors = "1.5x+16"
//! threads = "1.5x+16"
//! written = "1.5x+8MiB"        # written to the disk
//! latency = "1.5x+5ms"         # the median answer
//! slow = "2x+50ms"             # the slowest answer of a hundred
//! errors = "2x+10"             # lines of output that are errors
//! answers = "refuse"           # other answers than the old version's; or "report"
//! calls = "refuse"             # dangerous system calls that the old version never made; or "report"
//! ```

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::ConfigError;
use super::units;
use super::written::{Source, or};

/// How much more than the old version a new one may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From its start until it is ready, in microseconds.
    pub start: Limit,
    /// Processor time in a second, in microseconds.
    pub cpu: Limit,
    /// The most memory that it held, in bytes.
    pub memory: Limit,
    /// By how much its memory grows in a minute, in bytes.
    pub growth: Limit,
    /// The most descriptors.
    pub descriptors: Limit,
    /// The most threads.
    pub threads: Limit,
    /// Bytes written to the disk.
    pub written: Limit,
    /// The median answer, in microseconds.
    pub latency: Limit,
    /// The slowest answer of a hundred, in microseconds.
    pub slow: Limit,
    /// Lines of output that are errors.
    pub errors: Limit,
    /// Whether other answers refuse it.
    pub answers: bool,
    /// Whether dangerous system calls that the old version never made refuse it.
    pub calls: bool,
}

/// A ratio and what may be added to it; or nothing is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<(u64, u64)>);

impl Limit {
    /// The highest figure that is allowed beside the old version's; `None`: any.
    pub fn beside(self, old: u64) -> Option<u64> {
        let (thousandths, plus) = self.0?;
        let scaled = u128::from(old) * u128::from(thousandths) / 1000 + u128::from(plus);
        Some(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

impl Default for Limits {
    fn default() -> Self {
        let of = |thousandths, plus| Limit(Some((thousandths, plus)));
        let (milli, mib) = (1000, 1 << 20);
        Self {
            start: of(2000, 5000 * milli),
            cpu: of(1500, 100 * milli),
            memory: of(1500, 16 * mib),
            growth: of(2000, 16 * mib),
            descriptors: of(1500, 16),
            threads: of(1500, 16),
            written: of(1500, 8 * mib),
            latency: of(1500, 5 * milli),
            slow: of(2000, 50 * milli),
            errors: of(2000, 10),
            answers: true,
            calls: true,
        }
    }
}

/// As written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WrittenLimits {
    start: Option<Spanned<String>>,
    cpu: Option<Spanned<String>>,
    memory: Option<Spanned<String>>,
    growth: Option<Spanned<String>>,
    descriptors: Option<Spanned<String>>,
    threads: Option<Spanned<String>>,
    written: Option<Spanned<String>>,
    latency: Option<Spanned<String>>,
    slow: Option<Spanned<String>>,
    errors: Option<Spanned<String>>,
    answers: Option<Spanned<String>>,
    calls: Option<Spanned<String>>,
}

impl WrittenLimits {
    pub(super) fn merge(self) -> Self {
        let limit = |written: Option<Spanned<String>>, default: &str| Some(or(written, default));
        Self {
            start: limit(self.start, "2x+5s"),
            cpu: limit(self.cpu, "1.5x+100ms"),
            memory: limit(self.memory, "1.5x+16MiB"),
            growth: limit(self.growth, "2x+16MiB"),
            descriptors: limit(self.descriptors, "1.5x+16"),
            threads: limit(self.threads, "1.5x+16"),
            written: limit(self.written, "1.5x+8MiB"),
            latency: limit(self.latency, "1.5x+5ms"),
            slow: limit(self.slow, "2x+50ms"),
            errors: limit(self.errors, "2x+10"),
            answers: limit(self.answers, "refuse"),
            calls: limit(self.calls, "refuse"),
        }
    }

    pub(super) fn validate(&self, source: &Source<'_>) -> Result<Limits, ConfigError> {
        let usual = Limits::default();
        let read = |key: &str, written: &Option<Spanned<String>>, plus: Plus, usual| match written {
            None => Ok(usual),
            Some(text) => {
                source.read(&format!("shadow.limits.{key}"), text, |text| limit(text, plus))
            }
        };
        let word = |key: &str, written: &Option<Spanned<String>>| match written {
            None => Ok(true),
            Some(text) => source.read(&format!("shadow.limits.{key}"), text, refuse),
        };
        Ok(Limits {
            start: read("start", &self.start, time, usual.start)?,
            cpu: read("cpu", &self.cpu, time, usual.cpu)?,
            memory: read("memory", &self.memory, units::size, usual.memory)?,
            growth: read("growth", &self.growth, units::size, usual.growth)?,
            descriptors: read("descriptors", &self.descriptors, units::size, usual.descriptors)?,
            threads: read("threads", &self.threads, units::size, usual.threads)?,
            written: read("written", &self.written, units::size, usual.written)?,
            latency: read("latency", &self.latency, time, usual.latency)?,
            slow: read("slow", &self.slow, time, usual.slow)?,
            errors: read("errors", &self.errors, units::size, usual.errors)?,
            answers: word("answers", &self.answers)?,
            calls: word("calls", &self.calls)?,
        })
    }
}

type Plus = fn(&str) -> Result<u64, units::BadUnit>;

/// In microseconds.
fn time(text: &str) -> Result<u64, units::BadUnit> {
    units::duration(text).map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// `1.5x+16MiB`, `2x`, or `off`. A ratio below 1 would refuse what is better.
fn limit(text: &str, plus: Plus) -> Result<Limit, String> {
    if text == "off" {
        return Ok(Limit(None));
    }
    let wrong = || format!("{text:?} is no limit such as \"1.5x+10\", nor \"off\"");
    let (ratio, rest) = text.split_once('x').ok_or_else(wrong)?;
    let thousandths = thousandths(ratio).filter(|ratio| (1000..=1_000_000).contains(ratio));
    let plus = match rest.strip_prefix('+') {
        Some(amount) => plus(amount).map_err(|error| error.to_string())?,
        None if rest.is_empty() => 0,
        None => return Err(wrong()),
    };
    Ok(Limit(Some((thousandths.ok_or_else(wrong)?, plus))))
}

/// A decimal number with at most three digits behind the point.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 || whole.len() > 6 {
        return None;
    }
    Some(whole.parse::<u64>().ok()? * 1000 + format!("{part:0<3}").parse::<u64>().ok()?)
}

fn refuse(text: &str) -> Result<bool, String> {
    match text {
        "refuse" => Ok(true),
        "report" => Ok(false),
        _ => Err(format!("{text:?} is neither \"refuse\" nor \"report\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parse(lines: &str) -> Result<Limits, ConfigError> {
        let text =
            format!("product = \"p\"\nrepositories = [\"file:///r\"]\n[shadow.limits]\n{lines}");
        Config::from_text(&text, "n.toml".into()).map(|config| config.shadow.limits)
    }

    #[test]
    fn what_is_not_written_has_the_documented_limit() {
        assert_eq!(parse("").unwrap(), Limits::default());
        let limits =
            parse("memory = \"1.25x+1KiB\"\nstart = \"off\"\nanswers = \"report\"").unwrap();
        assert_eq!(limits.memory.beside(4000), Some(5000 + 1024));
        assert_eq!(limits.start.beside(1), None);
        assert!(!limits.answers && limits.calls);
        assert_eq!(parse("slow = \"3x\"").unwrap().slow.beside(7), Some(21));
        assert_eq!(parse("slow = \"1x+2ms\"").unwrap().slow.beside(7), Some(2007));
        assert_eq!(limits.cpu.beside(u64::MAX), Some(u64::MAX));
    }

    #[test]
    fn what_is_no_limit_is_named_with_its_line() {
        for bad in ["0.5x", "x+1", "1.5", "1.5x-1", "1.2345x", "1.x", "2x+", "1e3x", "2x+1s"] {
            let error = parse(&format!("memory = \"{bad}\"")).unwrap_err().to_string();
            assert!(error.starts_with("n.toml:4: shadow.limits.memory: "), "{error}");
        }
        assert!(parse("calls = \"no\"").is_err());
        assert!(parse("colour = \"1x\"").is_err());
    }
}
