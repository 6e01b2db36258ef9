//! Everything the machine may do to the world, as one list that no test can forget a part of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares the effects once: the type, [`Effect::ALL`], names and sentences come from the same list.
macro_rules! effects {
    ($($(#[doc = $doc:literal])+ $name:ident, $text:literal, $sentence:literal;)+) => {
        /// One step that changes the world. Each is idempotent: the journal may ask for it twice.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Effect {
            $($(#[doc = $doc])+ #[serde(rename = $text)] $name,)+
        }

        impl Effect {
            /// Every effect, in the order of a swap and then of a roll-back.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in the journal.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// What it does, to a person.
            pub fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)+
                }
            }
        }
    };
}

effects! {
    /// Settles on a release that policy approved.
    Announce, "announce", "settle on the release";
    /// Downloads its artifact.
    Fetch, "fetch", "download the artifact";
    /// Unpacks it into the content-addressed store.
    Stage, "stage", "unpack it into the store";
    /// Copies the live state for the shadow.
    CopyState, "copy-state", "copy the live state for the shadow";
    /// Runs the release in the shadow sandbox on that copy.
    Shadow, "shadow", "run it in the shadow sandbox";
    /// Draws the hold-off.
    DrawHold, "draw-hold", "draw the random delay";
    /// Gives the release up before anything was stopped: withdrawn or overtaken.
    Withdraw, "withdraw", "let the release go";
    /// Takes down what the operator ordered.
    Order, "order", "take down what the operator ordered";
    /// Takes the lease that lets one node of this host swap at a time.
    Lease, "lease", "take the lease for the swap";
    /// Copies most of the state into the snapshot while the old version still runs.
    CopyAhead, "copy-ahead", "copy most of the snapshot while the node runs";
    /// Stops the node; its sockets stay open and queue.
    Stop, "stop", "stop the node; connections queue";
    /// Completes the snapshot, reads it back and names it.
    Snapshot, "snapshot", "complete the snapshot and read it back";
    /// Brings one area of the live state to the new schema.
    Migrate, "migrate", "migrate an area of the state forward";
    /// Renames `current`: the commit point.
    Switch, "switch", "point `current` to the new version";
    /// Starts what `current` names and waits until it is ready.
    Start, "start", "start what `current` names";
    /// Starts what `current` names beside what runs, which drains once the other is ready.
    HandOver, "hand-over", "start what `current` names beside what runs, which then drains";
    /// Condemns the swap: from here everything leads back.
    Condemn, "condemn", "decide to go back";
    /// Takes the lease and decides to go back from what was committed: the operator wants what ran before.
    Recall, "recall", "decide to go back to what ran before";
    /// Brings one area of the live state back to the old schema.
    MigrateBack, "migrate-back", "migrate an area of the state back";
    /// Restores the snapshot into a new data directory; the newer state is kept aside.
    Restore, "restore", "restore the snapshot beside the newer state";
    /// Points `current` back to the old binary.
    SwitchBack, "switch-back", "point `current` back to the old version";
    /// Ends a swap either way: gives the lease back, prunes old snapshots.
    Conclude, "conclude", "give the lease back and tidy up";
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_name_is_the_serialized_name_and_unique() {
        let mut names = std::collections::BTreeSet::new();
        for effect in Effect::ALL {
            assert_eq!(serde_json::to_value(effect).unwrap(), effect.name());
            assert!(names.insert(effect.name()));
        }
    }
}
