//! Paths that cannot leave the tree they belong to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest path, in bytes.
pub(crate) const MAX_PATH: usize = 4096;
/// Most segments of a path.
pub(crate) const MAX_DEPTH: usize = 64;

/// A relative path of plain segments: UTF-8, no `..`, `.`, empty segment, backslash or control character.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Inside(String);

/// A path that leaves its tree, or that means different things to different programs.
#[derive(Debug, thiserror::Error)]
#[error("{path:?} is not a path inside the tree: {rule}")]
pub struct NotInside {
    path: String,
    rule: &'static str,
}

impl Inside {
    /// The path as text, with `/` between segments.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it lies below `root`.
    pub fn below(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }

    /// The path without its first segment; `None` when there is only one.
    pub fn without_first(&self) -> Option<Self> {
        self.0.split_once('/').map(|(_, rest)| Self(rest.to_owned()))
    }

    /// The directories above it, from the top.
    pub fn parents(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(at, _)| &self.0[..at])
    }

    /// Whether it is `other` or lies below it.
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// A member of this directory.
    ///
    /// # Errors
    /// The name is no plain segment.
    pub fn join(&self, name: &str) -> Result<Self, NotInside> {
        format!("{}/{name}", self.0).parse()
    }

    /// Whether a link at this path with `target` stays inside the tree.
    ///
    /// `..` is taken at the beginning only: after a name it would lead out of wherever that name leads, if it is
    /// itself a link.
    pub fn link_stays(&self, target: &str) -> bool {
        if target.is_empty() || target.starts_with('/') || target.len() > MAX_PATH {
            return false;
        }
        let (mut depth, mut named) = (self.parents().count(), false);
        for segment in target.split('/') {
            match segment {
                "" | "." => {}
                ".." if depth == 0 || named => return false,
                ".." => depth -= 1,
                _ => named = true,
            }
        }
        !target.contains('\0')
    }
}

impl FromStr for Inside {
    type Err = NotInside;

    fn from_str(text: &str) -> Result<Self, NotInside> {
        let bad = |rule| NotInside { path: text.chars().take(200).collect(), rule };
        if text.is_empty() {
            return Err(bad("it is empty"));
        }
        if text.starts_with('/') {
            return Err(bad("it is absolute"));
        }
        if text.len() > MAX_PATH || text.split('/').count() > MAX_DEPTH {
            return Err(bad("it is too long or too deep"));
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err(bad("it holds a control character or a backslash"));
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(bad("it has an empty segment")),
                "." | ".." => return Err(bad("it has a segment . or ..")),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Inside {
    type Error = NotInside;

    fn try_from(text: String) -> Result<Self, NotInside> {
        text.parse()
    }
}

impl From<Inside> for String {
    fn from(path: Inside) -> Self {
        path.0
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leaves_its_tree_is_refused() {
        for bad in ["", "/a", "..", "a/../b", "a//b", "a/", "./a", "a/.", "a\\b", "a\nb", "\0"] {
            assert!(bad.parse::<Inside>().is_err(), "{bad:?}");
        }
        assert!("a/".repeat(65).trim_end_matches('/').parse::<Inside>().is_err());
        assert!("bin/a b-é".parse::<Inside>().is_ok());
    }

    #[test]
    fn a_link_is_followed_by_counting_and_may_not_climb_out() {
        let link: Inside = "a/b/link".parse().unwrap();
        for good in ["x", "../x", "../../x", "./x/y", "../../c/d"] {
            assert!(link.link_stays(good), "{good}");
        }
        for bad in ["", "/etc/passwd", "../../../x", "x/../../../../y", "x/../y", "../c/.."] {
            assert!(!link.link_stays(bad), "{bad}");
        }
    }
}
