//! A rollout: when nodes take a release, as its keyholders say it beside the release and may say it anew.
//!
//! It stands in the product's role (with bins: in its index), below [`ROLLOUT`], by version:
//! `{"2.0.0": {"not-before": "2026-02-01T00:00:00Z", "window-seconds": 604800, "cancelled": "it leaks"}}`.
//! Changing it is a new version of that role and nothing else: the release, its artifact and whoever rebuilt it stay.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The field of a product's `signed` with its rollouts, by version.
pub const ROLLOUT: &str = "x-countersign-rollout";

/// Longest window, in seconds: a year.
pub const MAX_WINDOW: u64 = 366 * 86_400;

/// Longest reason, in characters.
pub const MAX_REASON: usize = 300;

/// What keyholders say about when nodes take one version. The default says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rollout {
    /// No node takes it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Nodes spread over so many seconds: over more than their operators' own window, or, where the release is urgent,
    /// over less, down to the operators' own floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// No node takes it, for this reason, until this is taken back. What runs stays (unlike with a revocation).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<String>,
}

/// A rollout that makes no sense.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BadRollout {
    /// Not of this shape, or of a newer one.
    #[error("it is not of the shape that this program knows: {0}")]
    Shape(String),
    /// The window is out of its range.
    #[error("its window of {0} seconds is not 1 to {MAX_WINDOW}")]
    Window(u64),
    /// Dates in signed metadata are in whole seconds.
    #[error("its not-before {0} is not in whole seconds")]
    Fraction(Timestamp),
    /// The reason is not for people's eyes.
    #[error("its reason is not 1 to {MAX_REASON} printable characters")]
    Reason,
}

impl Rollout {
    /// Reads what a role says about one version.
    ///
    /// # Errors
    /// It makes no sense, or was written by a newer program: the version is then not taken.
    pub fn read(value: &serde_json::Value) -> Result<Self, BadRollout> {
        // A list of nothing would also read as a rollout that says nothing.
        if !value.is_object() {
            return Err(BadRollout::Shape("it is no object".to_owned()));
        }
        let rollout = Self::deserialize(value).map_err(|e| BadRollout::Shape(e.to_string()))?;
        rollout.check()?;
        Ok(rollout)
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(&self) -> Result<(), BadRollout> {
        if let Some(window) = self.window_seconds.filter(|w| !(1..=MAX_WINDOW).contains(w)) {
            return Err(BadRollout::Window(window));
        }
        if let Some(instant) = self.not_before.filter(|t| t.subsec_nanosecond() != 0) {
            return Err(BadRollout::Fraction(instant));
        }
        match &self.cancelled {
            Some(reason)
                if reason.trim().is_empty()
                    || reason.chars().count() > MAX_REASON
                    || reason.chars().any(char::is_control) =>
            {
                Err(BadRollout::Reason)
            }
            _ => Ok(()),
        }
    }

    /// Whether it says nothing: the operators' own windows count.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Rollout {
    /// In words, for whoever signs it and for whoever waits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if let Some(reason) = &self.cancelled {
            words.push(format!("CANCELLED: no node takes it ({reason})"));
        }
        if let Some(instant) = self.not_before {
            words.push(format!("no node takes it before {instant}"));
        }
        if let Some(seconds) = self.window_seconds {
            words.push(format!("nodes spread over {}", span(seconds)));
        }
        if words.is_empty() {
            words.push("each node by its operator's own delay".to_owned());
        }
        f.write_str(&words.join("; "))
    }
}

fn span(seconds: u64) -> String {
    for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "min")] {
        if seconds.is_multiple_of(unit) {
            return format!("{} {name}", seconds / unit);
        }
    }
    format!("{seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_makes_no_sense_or_is_newer_is_refused_and_never_passed_over() {
        for bad in [
            json!([]),
            json!({ "window-seconds": 0 }),
            json!({ "window-seconds": MAX_WINDOW + 1 }),
            json!({ "not-before": "soon" }),
            json!({ "not-before": "2026-01-01T00:00:00.5Z" }),
            json!({ "cancelled": "" }),
            json!({ "cancelled": "a\u{1b}[2J" }),
            json!({ "percent": 5 }),
        ] {
            assert!(Rollout::read(&bad).is_err(), "{bad}");
        }
        assert!(Rollout::read(&json!({})).unwrap().is_empty());
    }

    #[test]
    fn it_reads_well() {
        let value = json!({ "not-before": "2026-02-01T00:00:00Z", "window-seconds": 604_800, "cancelled": "it leaks" });
        let rollout = Rollout::read(&value).unwrap();
        assert_eq!(
            rollout.to_string(),
            "CANCELLED: no node takes it (it leaks); no node takes it before 2026-02-01T00:00:00Z; \
             nodes spread over 7 d"
        );
        assert_eq!(serde_json::to_value(&rollout).unwrap(), value);
    }
}
