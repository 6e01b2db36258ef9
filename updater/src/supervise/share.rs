//! The share of live connections that go through the tee, in millionths.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// All of them.
const WHOLE: u32 = 1_000_000;

/// More than none and at most all connections. As text `10%`, with up to four digits behind a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Share(u32);

/// No share.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no share of connections: 10% and 0.5% are")]
pub struct BadShare(String);

impl Share {
    /// Of `2^32` random numbers, how many choose the tee.
    pub(super) fn of_random(self) -> u32 {
        let exact = (u64::from(self.0) << 32) / u64::from(WHOLE);
        u32::try_from(exact).unwrap_or(u32::MAX)
    }
}

impl TryFrom<u32> for Share {
    type Error = BadShare;

    fn try_from(millionths: u32) -> Result<Self, BadShare> {
        match millionths {
            1..=WHOLE => Ok(Self(millionths)),
            _ => Err(BadShare(format!("{millionths} millionths"))),
        }
    }
}

impl From<Share> for u32 {
    fn from(share: Share) -> Self {
        share.0
    }
}

impl FromStr for Share {
    type Err = BadShare;

    fn from_str(text: &str) -> Result<Self, BadShare> {
        let bad = || BadShare(text.to_owned());
        let number = text.strip_suffix('%').ok_or_else(bad)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 4 {
            return Err(bad());
        }
        let millionths = format!("{whole}{part:0<4}").parse::<u32>().map_err(|_| bad())?;
        Self::try_from(millionths).map_err(|_| bad())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_and_written_in_percent_and_none_and_nonsense_are_refused() {
        for (text, millionths) in
            [("10%", 100_000), ("0.5%", 5_000), ("100%", WHOLE), ("0.0001%", 1)]
        {
            let share: Share = text.parse().unwrap();
            assert_eq!((u32::from(share), share.to_string().as_str()), (millionths, text));
        }
        for text in ["0%", "101%", "10", "-1%", "1e1%", ".5%", "5.%", "0.00001%", "%", ""] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        assert_eq!(Share(WHOLE).of_random(), u32::MAX);
        assert_eq!(Share(500_000).of_random(), 1 << 31);
    }
}
