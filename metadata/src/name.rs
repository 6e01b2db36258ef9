//! Names that cannot escape: parsed once, then safe as a path segment, a role name and a TUF target.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A text that is not the name it should be.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a {what}: {rule}")]
pub struct BadName {
    what: &'static str,
    text: String,
    rule: &'static str,
}

const RULE: &str = "1 to 64 of a-z, 0-9, '-' and '_', beginning with a letter";

/// Longest name, in bytes.
pub const MAX_NAME: usize = 64;

fn check(what: &'static str, text: &str) -> Result<(), BadName> {
    let good = (1..=MAX_NAME).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
    if good {
        Ok(())
    } else {
        Err(BadName { what, text: text.chars().take(80).collect(), rule: RULE })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal $(, reserved $reserved:expr)?) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                check($what, text)?;
                $(if $reserved.contains(&text) {
                    return Err(BadName { what: $what, text: text.to_owned(), rule: "the name is reserved by TUF" });
                })?
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A product: the name of its delegated TUF role, and the first segment of its target paths.
    Product, "product name", reserved ["root", "targets", "snapshot", "timestamp", "mirrors"]
);
name!(
    /// An area of a node's state with a schema version of its own.
    Area, "state area"
);
name!(
    /// Something that an operator must do before a release may run: its name.
    ActionId, "required action"
);
name!(
    /// A platform, as `OS-ARCHITECTURE`: `linux-x86_64`, `linux-aarch64`.
    Platform, "platform"
);

impl Platform {
    /// The platform this program was compiled for.
    pub fn here() -> Self {
        Self(format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH))
    }
}

/// A version by semver 2.0.0. Build metadata (`+…`) is refused: it does not order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(semver::Version);

impl Version {
    /// The three numbers.
    pub fn numbers(&self) -> (u64, u64, u64) {
        (self.0.major, self.0.minor, self.0.patch)
    }

    /// Whether it is a pre-release (`1.0.0-beta.9`). A node follows one only where its operator says so.
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }
}

impl FromStr for Version {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = |rule| BadName { what: "version", text: text.chars().take(80).collect(), rule };
        if text.len() > MAX_NAME {
            return Err(bad("at most 64 characters"));
        }
        let version =
            semver::Version::parse(text).map_err(|_| bad("MAJOR.MINOR.PATCH by semver"))?;
        if !version.build.is_empty() {
            return Err(bad("build metadata (+…) has no order"));
        }
        Ok(Self(version))
    }
}

impl TryFrom<String> for Version {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_escape_or_confuse_are_refused() {
        for bad in ["", "..", "a/b", "A", "1a", "a b", "é", "root", "snapshot", &"a".repeat(65)] {
            assert!(bad.parse::<Product>().is_err(), "{bad}");
        }
        assert!("example-node_2".parse::<Product>().is_ok());
        assert!("linux-x86_64".parse::<Platform>().is_ok());
    }

    #[test]
    fn versions_order_by_semver_and_pre_releases_come_before() {
        let v = |t: &str| t.parse::<Version>().unwrap();
        assert!(v("1.0.0-beta.9") < v("1.0.0-beta.10"));
        assert!(v("1.0.0-beta.10") < v("1.0.0") && v("1.9.0") < v("1.10.0"));
        for bad in ["1", "1.0", "v1.0.0", "1.0.0+build", "1.0.0/..", "01.0.0"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
