//! Protections that an operator may go without, each by its name, and why these and no others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::capability::{ALL, CGROUP_MEMORY, LANDLOCK, PROGRAMS};

/// A protection that [`Sandbox::lower`](crate::Sandbox::lower) takes. What is lowered is not demanded any more; memory
/// limit and Landlock are still used where the machine has them.
///
/// Only what has another wall in front of it, or bounds no more than a resource, can be lowered. Namespaces, the private
/// user id, the read-only tree, the filter of system calls and the eye cannot: without one of them a payload reaches the
/// machine, or a report is silent about what it has not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Lowerable {
    /// "memory limit": a payload may use up the machine's memory. Nothing but a control group bounds it.
    MemoryLimit,
    /// "landlock": the second wall around what may be written, behind a tree that is read-only already.
    Landlock,
    /// "programs": what the payload writes may be executed. It is as bounded as the payload itself.
    Programs,
}

/// A name of nothing that can be lowered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotLowerable {
    /// There is such a protection, and it is always demanded.
    #[error(
        "{0:?} is never lowered: without it a payload reaches the machine, or is not seen; what can be: {LOWERABLE}"
    )]
    Always(String),
    /// There is no such protection.
    #[error("no protection is called {0:?}; what can be lowered: {LOWERABLE}")]
    Unknown(String),
}

const LOWERABLE: &str = "\"memory limit\", \"landlock\", \"programs\"";

impl Lowerable {
    /// Its name, as in [`Error::Missing`](crate::Error::Missing).
    pub fn name(self) -> &'static str {
        match self {
            Self::MemoryLimit => CGROUP_MEMORY,
            Self::Landlock => LANDLOCK,
            Self::Programs => PROGRAMS,
        }
    }
}

impl FromStr for Lowerable {
    type Err = NotLowerable;

    fn from_str(name: &str) -> Result<Self, NotLowerable> {
        let all = [Self::MemoryLimit, Self::Landlock, Self::Programs];
        all.into_iter().find(|one| one.name() == name).ok_or_else(|| {
            let known = ALL.iter().any(|(known, _)| *known == name);
            if known {
                NotLowerable::Always(name.into())
            } else {
                NotLowerable::Unknown(name.into())
            }
        })
    }
}

impl TryFrom<String> for Lowerable {
    type Error = NotLowerable;

    fn try_from(name: String) -> Result<Self, NotLowerable> {
        name.parse()
    }
}

impl From<Lowerable> for String {
    fn from(lowered: Lowerable) -> Self {
        lowered.name().to_owned()
    }
}

impl fmt::Display for Lowerable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_is_never_lowered_and_an_unknown_name_is_refused() {
        assert_eq!("memory limit".parse(), Ok(Lowerable::MemoryLimit));
        for name in ["seccomp", "sinkhole", "packet eye", "user namespaces", "private user id"] {
            assert_eq!(name.parse::<Lowerable>(), Err(NotLowerable::Always(name.to_owned())));
        }
        assert_eq!("all".parse::<Lowerable>(), Err(NotLowerable::Unknown("all".to_owned())));
    }
}
