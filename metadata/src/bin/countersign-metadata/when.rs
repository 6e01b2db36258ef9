//! The program's clock, and spans of time as people write them: `90d`, `1y`, `12h`.

use std::str::FromStr;

use countersign_console::{Exit, Failure};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// A span of time from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Within(Span);

impl FromStr for Within {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span: Span =
            text.parse().map_err(|_| "a span of time is written like 90d, 1y or 12h".to_owned())?;
        if span.is_positive() {
            Ok(Self(span))
        } else {
            Err("must be longer than nothing".to_owned())
        }
    }
}

impl Within {
    /// The span as it was written.
    pub(crate) fn span(self) -> Span {
        self.0
    }

    /// The moment that far from `now`.
    pub(crate) fn after(self, now: Timestamp) -> Result<Timestamp, Failure> {
        let moment = now.to_zoned(TimeZone::UTC).checked_add(self.0).map_err(|error| {
            Failure::caused(Exit::Usage, format!("{} reaches too far", self.0), &error)
        })?;
        Ok(moment.timestamp())
    }
}

/// The one place where this program looks at the clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Whole days from `now` to `moment`; negative when it is past.
pub(crate) fn days(now: Timestamp, moment: Timestamp) -> i64 {
    moment.duration_since(now).as_secs().div_euclid(86_400)
}

/// Days to expiry, for people.
pub(crate) fn in_days(now: Timestamp, moment: Timestamp) -> String {
    match days(now, moment) {
        ..0 => "EXPIRED".to_owned(),
        0 => "today".to_owned(),
        1 => "1 day".to_owned(),
        n => format!("{n} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, then) in [("1y", "2027-01-31T12:00:00Z"), ("12h", "2026-02-01T00:00:00Z")] {
            assert_eq!(text.parse::<Within>().unwrap().after(now).unwrap(), then.parse().unwrap());
        }
        for bad in ["", "soon", "-3d", "0d"] {
            assert!(bad.parse::<Within>().is_err(), "{bad}");
        }
        assert_eq!(in_days(now, now - std::time::Duration::from_secs(1)), "EXPIRED");
    }
}
