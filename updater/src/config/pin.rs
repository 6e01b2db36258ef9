//! A pin: the one version, or the series of versions, that a node stays on.

use std::fmt;
use std::str::FromStr;

use countersign_metadata::Version;

/// `1.2.3`, or a series: `1.2.*`, `1.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    text: String,
    exact: Option<Version>,
    numbers: Vec<u64>,
}

/// A text that is no pin.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is neither a version such as 1.2.3 nor a series such as 1.2.* or 1.*")]
pub struct BadPin(String);

impl Pin {
    /// Whether a version belongs to it.
    pub fn takes(&self, version: &Version) -> bool {
        let (major, minor, patch) = version.numbers();
        match &self.exact {
            Some(exact) => exact == version,
            None => self.numbers.iter().eq([major, minor, patch].iter().take(self.numbers.len())),
        }
    }
}

impl FromStr for Pin {
    type Err = BadPin;

    fn from_str(text: &str) -> Result<Self, BadPin> {
        let bad = || BadPin(text.chars().take(80).collect());
        let this = |exact, numbers| Self { text: text.to_owned(), exact, numbers };
        let Some(series) = text.strip_suffix(".*") else {
            return text.parse().map(|version| this(Some(version), Vec::new())).map_err(|_| bad());
        };
        // What completes it to a version is a series of the same spelling.
        let zeros = ".0".repeat(2usize.saturating_sub(series.matches('.').count()));
        let version: Version = format!("{series}{zeros}").parse().map_err(|_| bad())?;
        let (major, minor, _) = version.numbers();
        match series.split('.').count() {
            1 => Ok(this(None, vec![major])),
            2 => Ok(this(None, vec![major, minor])),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_takes_its_own_and_nothing_else_is_a_pin() {
        let takes =
            |pin: &str, version: &str| pin.parse::<Pin>().unwrap().takes(&version.parse().unwrap());
        assert!(takes("1.2.*", "1.2.0") && takes("1.2.*", "1.2.99") && takes("1.*", "1.9.3"));
        assert!(!takes("1.2.*", "1.20.0") && !takes("1.2.*", "1.3.0") && !takes("1.*", "10.0.0"));
        assert!(takes("1.2.3", "1.2.3") && !takes("1.2.3", "1.2.4"));
        for bad in
            ["", "*", ".*", "1", "1.2", "1.2.3.*", "1.x.*", "01.*", "1.*.*", ">=1", "1.2-a.*"]
        {
            assert!(bad.parse::<Pin>().is_err(), "{bad}");
        }
    }
}
