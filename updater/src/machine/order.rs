//! What the operator orders beside the configuration, and what stands of it: the journal takes each order down once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use countersign_metadata::{ActionId, Sha256, Version};
use serde::{Deserialize, Serialize};

use super::{Candidate, Moment};

/// An order, by a name of its own, so that it is taken down once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its name.
    pub id: String,
    /// What is wanted.
    #[serde(flatten)]
    pub what: Wanted,
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wanted", rename_all = "kebab-case")]
pub enum Wanted {
    /// No swap begins (or: this version is not taken).
    Hold {
        /// One version; none: everything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
        /// It ends by itself then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Moment>,
        /// Why, in the operator's words.
        reason: String,
    },
    /// A hold is lifted.
    Release {
        /// One version's; none: the one on everything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<Version>,
    },
    /// What a release asks of operators was done.
    Accept {
        /// The release.
        artifact: Sha256,
        /// Its version.
        version: Version,
        /// Which actions.
        actions: BTreeSet<ActionId>,
    },
    /// A known-bad release may be tried again.
    Forgive {
        /// The release.
        artifact: Sha256,
        /// Its version.
        version: Version,
    },
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = |version: &Option<Version>| {
            version.as_ref().map_or("everything".to_owned(), Version::to_string)
        };
        match self {
            Self::Hold { version, until, reason } => {
                write!(f, "the operator holds {}", what(version))?;
                until.iter().try_for_each(|until| write!(f, " until {until}"))?;
                if reason.is_empty() { Ok(()) } else { write!(f, ": {reason}") }
            }
            Self::Release { version } => {
                write!(f, "the operator lifts the hold on {}", what(version))
            }
            Self::Accept { version, actions, .. } => {
                let actions: Vec<_> = actions.iter().map(ActionId::as_str).collect();
                write!(f, "the operator has done what {version} asks for: {}", actions.join(", "))
            }
            Self::Forgive { version, .. } => {
                write!(f, "the operator forgives {version}: it may be tried again")
            }
        }
    }
}

/// A hold that stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stay {
    /// Since when.
    pub since: Moment,
    /// Until when, if it ends by itself.
    pub until: Option<Moment>,
    /// Why, in the operator's words.
    pub reason: String,
}

impl Stay {
    /// Whether it still stands.
    pub fn stands(&self, now: &Moment) -> bool {
        self.until.as_ref().is_none_or(|until| !now.reached(until))
    }
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the operator holds it since {}", self.since)?;
        self.until.iter().try_for_each(|until| write!(f, " until {until}"))?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// All orders that stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// No swap begins.
    pub hold: Option<Stay>,
    /// Versions that are not taken.
    pub held: BTreeMap<Version, Stay>,
    /// Required actions that were done, by release.
    pub accepted: BTreeMap<Sha256, BTreeSet<ActionId>>,
    /// The orders that were taken down.
    pub heard: BTreeSet<String>,
}

impl Standing {
    /// Takes one order down.
    pub fn take(&mut self, order: &Order, at: &Moment) {
        self.heard.insert(order.id.clone());
        match order.what.clone() {
            Wanted::Hold { version, until, reason } => {
                let stay = Stay { since: at.clone(), until, reason };
                match version {
                    None => self.hold = Some(stay),
                    Some(version) => {
                        self.held.insert(version, stay);
                    }
                }
            }
            Wanted::Release { version: None } => self.hold = None,
            Wanted::Release { version: Some(version) } => {
                self.held.remove(&version);
            }
            Wanted::Accept { artifact, actions, .. } => {
                self.accepted.entry(artifact).or_default().extend(actions);
            }
            // The ledger's own book.
            Wanted::Forgive { .. } => {}
        }
    }

    /// What a release asks of operators and nobody has accepted yet.
    pub fn open<'a>(&self, candidate: &'a Candidate) -> Vec<(&'a ActionId, &'a str)> {
        let done = self.accepted.get(&candidate.artifact);
        let open = candidate.actions.iter().filter(|(id, _)| done.is_none_or(|d| !d.contains(*id)));
        open.map(|(id, text)| (id, text.as_str())).collect()
    }
}
