//! What a client saw: every request, when it began and ended, and whether it was acknowledged.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// The protocol that a record was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// The example node's.
    Http,
    /// beanstalkd's.
    Beanstalk,
}

/// One request that wrote one unique value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Request {
    /// What the value is read back by. Of a failed put of a job, which has no id, the body's first word.
    pub key: String,
    /// The value.
    pub value: String,
    /// When it began, before connecting; Unix time in milliseconds.
    pub started: u64,
    /// When it was answered or failed; Unix time in milliseconds.
    pub ended: u64,
    /// Why it was not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// All requests of a load, in the order in which they ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Record {
    /// How to read the values back.
    pub protocol: Protocol,
    /// The requests.
    pub requests: Vec<Request>,
}

/// How many requests there were in some time, and how they fared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// Requests of which at least a part was in that time.
    pub requests: usize,
    /// Those that were acknowledged.
    pub acknowledged: usize,
    /// Those that failed.
    pub failed: usize,
    /// The longest from beginning to end, in milliseconds.
    pub slowest_ms: u64,
}

impl Record {
    /// Key and value of every acknowledged request.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requests
            .iter()
            .filter(|request| request.failure.is_none())
            .map(|request| (request.key.as_str(), request.value.as_str()))
    }

    /// Every failed request: when it ended, its key, and why.
    pub fn failed(&self) -> impl Iterator<Item = (u64, &str, &str)> {
        self.requests.iter().filter_map(|request| {
            Some((request.ended, request.key.as_str(), request.failure.as_deref()?))
        })
    }

    /// How long each request took.
    pub fn latencies(&self) -> impl Iterator<Item = Duration> {
        self.requests.iter().map(|request| request.took())
    }

    /// Requests of which at least a part was from `from` to before `to` (Unix time in milliseconds).
    pub fn within(&self, from: u64, to: u64) -> Counts {
        Counts::of(self.requests.iter().filter(|request| request.touches(from, to)))
    }

    /// All the others.
    pub fn outside(&self, from: u64, to: u64) -> Counts {
        Counts::of(self.requests.iter().filter(|request| !request.touches(from, to)))
    }

    /// All requests.
    pub fn counts(&self) -> Counts {
        Counts::of(self.requests.iter())
    }

    /// Acknowledged requests a second, from the first beginning to the last end.
    pub fn rate(&self) -> f64 {
        let first = self.requests.iter().map(|request| request.started).min().unwrap_or_default();
        let last = self.requests.iter().map(|request| request.ended).max().unwrap_or_default();
        let seconds = Duration::from_millis(last.saturating_sub(first).max(1)).as_secs_f64();
        self.counts().acknowledged as f64 / seconds
    }
}

impl Request {
    fn took(&self) -> Duration {
        Duration::from_millis(self.ended.saturating_sub(self.started))
    }

    fn touches(&self, from: u64, to: u64) -> bool {
        self.started < to && self.ended >= from
    }
}

impl Counts {
    fn of<'a>(requests: impl Iterator<Item = &'a Request>) -> Self {
        let mut counts = Self::default();
        for request in requests {
            counts.requests += 1;
            match request.failure {
                None => counts.acknowledged += 1,
                Some(_) => counts.failed += 1,
            }
            let took = u64::try_from(request.took().as_millis()).unwrap_or(u64::MAX);
            counts.slowest_ms = counts.slowest_ms.max(took);
        }
        counts
    }
}

/// Acknowledged values that could not be read back as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Missing {
    /// How many values were asked for.
    pub asked: usize,
    /// Keys that are not there.
    pub absent: Vec<String>,
    /// Keys with another value.
    pub different: Vec<String>,
}

impl Missing {
    /// Whether every value was read back.
    pub fn is_none(&self) -> bool {
        self.absent.is_empty() && self.different.is_empty()
    }

    pub(super) fn note(&mut self, key: &str, wanted: &str, found: Option<&[u8]>) {
        self.asked += 1;
        match found {
            None => self.absent.push(key.to_owned()),
            Some(value) if value != wanted.as_bytes() => self.different.push(key.to_owned()),
            Some(_) => {}
        }
    }
}

/// Now, as Unix time in milliseconds.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(started: u64, ended: u64, failure: Option<&str>) -> Request {
        let failure = failure.map(str::to_owned);
        Request { key: started.to_string(), value: String::new(), started, ended, failure }
    }

    #[test]
    fn a_request_that_touches_a_time_is_counted_in_it_and_every_request_once() {
        let requests = vec![
            request(0, 9, None),
            request(5, 10, None),
            request(15, 40, Some("reset")),
            request(20, 21, None),
        ];
        let record = Record { protocol: Protocol::Http, requests };
        let inside = record.within(10, 20);
        assert_eq!((inside.requests, inside.acknowledged, inside.failed), (2, 1, 1));
        assert_eq!(inside.slowest_ms, 25);
        let outside = record.outside(10, 20);
        assert_eq!((outside.requests, outside.failed), (2, 0));
        assert_eq!(record.counts().requests, 4);
        assert_eq!(record.failed().collect::<Vec<_>>(), [(40, "15", "reset")]);
    }
}
