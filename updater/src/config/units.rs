//! Durations, windows and sizes as people write them: `90s`, `2s..24h`, `512MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A text that is no duration, window or size.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct BadUnit {
    text: String,
    wanted: &'static str,
}

fn bad(text: &str, wanted: &'static str) -> BadUnit {
    BadUnit { text: text.chars().take(80).collect(), wanted }
}

/// A span of time to draw from; both ends are inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

impl FromStr for Window {
    type Err = BadUnit;

    fn from_str(text: &str) -> Result<Self, BadUnit> {
        let wanted = "a window such as 0s..24h, its shorter end first";
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let window = Self { min: duration(min.trim())?, max: duration(max.trim())? };
        if window.min <= window.max { Ok(window) } else { Err(bad(text, wanted)) }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", duration_text(self.min), duration_text(self.max))
    }
}

const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1_000)];

/// Reads `500ms`, `90s`, `10m`, `24h`, `7d`; at most a year.
///
/// # Errors
/// It is none of those.
pub fn duration(text: &str) -> Result<Duration, BadUnit> {
    let wrong = || bad(text, "a duration such as 500ms, 90s, 10m, 24h or 7d (a year at most)");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = number.checked_mul(*scale).ok_or_else(wrong)?;
    let duration = Duration::from_millis(milliseconds);
    if duration <= Duration::from_hours(366 * 24) { Ok(duration) } else { Err(wrong()) }
}

/// Writes a duration as [`duration`] reads it.
pub fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (name, scale) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds >= scale && milliseconds.is_multiple_of(scale) {
            return format!("{}{name}", milliseconds / scale);
        }
    }
    if milliseconds == 0 { "0s".to_owned() } else { format!("{milliseconds}ms") }
}

/// Reads a number of bytes: `4096`, `64KiB`, `512MiB`, `2GiB`.
///
/// # Errors
/// It is none of those.
pub fn size(text: &str) -> Result<u64, BadUnit> {
    let wrong = || bad(text, "a size such as 64KiB, 512MiB or 2GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(wrong)
}

/// Reads a rate in bytes a second: `64KiB/s`, `2MiB/s`; from 1 KiB a second.
///
/// # Errors
/// It is none of those.
pub fn rate(text: &str) -> Result<u64, BadUnit> {
    let wrong = || bad(text, "a rate such as 64KiB/s or 2MiB/s (1KiB/s at least)");
    let bytes = text.strip_suffix("/s").and_then(|bytes| size(bytes).ok());
    bytes.filter(|bytes| *bytes >= 1 << 10).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "500ms", "90s", "10m", "24h", "7d"] {
            let read = duration(text).unwrap();
            assert_eq!(duration(&duration_text(read)).unwrap(), read);
        }
        assert_eq!(duration_text(Duration::from_hours(24)), "1d");
        for bad in ["", "5", "s", "-1s", "1.5h", "400d", "99999999999999999999s", "1 h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_and_sizes_are_read() {
        let window: Window = "2s..5s".parse().unwrap();
        assert_eq!(window.to_string(), "2s..5s");
        assert_eq!("3s".parse::<Window>().unwrap().min, Duration::from_secs(3));
        assert!("5s..2s".parse::<Window>().is_err());
        assert_eq!(size("2GiB").unwrap(), 2 << 30);
        assert!(size("2GB").is_err() && size("99999999TiB").is_err());
        assert_eq!(rate("2MiB/s").unwrap(), 2 << 20);
        assert!(["2MiB", "2MiB/m", "1023B/s", "/s"].iter().all(|bad| rate(bad).is_err()));
    }
}
