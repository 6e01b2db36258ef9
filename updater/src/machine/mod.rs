//! The updater's states: what it rests in, what it may do, what decides, and the journal it all comes back from.
//!
//! ```text
//! Idle -announce-> Announced -fetch, stage-> Staged -copy-state, shadow-> Shadowed -draw-hold-> Held
//! Held -lease-> Leased -copy-ahead, stop-> Stopped -snapshot-> Snapshotted -migrate-> Migrated
//! Migrated -switch-> Switched -start-> Probation -conclude-> Committed
//! Leased -switch-> Switched -hand-over-> Probation, where both versions may run at once
//! Announced … Held -withdraw-> Idle       a failure before the lease -> Idle, counted
//! Leased … Probation -condemn-> the same state, leading back:
//!     stop, migrate-back (or restore), switch-back, start, conclude -> RolledBack
//! any rest -recall-> Switched, leading back: the operator wants what ran before
//! order: what the operator ordered is taken down; no state is left by that
//! ```
//!
//! # Invariants
//! Tests walk every path of the machine, with every effect failing and every crash, and check these:
//!
//! 1. An effect is begun only after its intent is on the disk, and the state moves only after its outcome is.
//! 2. Every effect is idempotent: after a crash the same plan leads to the same place.
//! 3. A snapshot is completed only while the node is held stopped and before any area was touched.
//! 4. A version is started only on data of its own schemas.
//! 5. Data directories are never removed or overwritten. What is replaced is kept aside, and the journal says so.
//! 6. `current` changes in [`Effect::Switch`] and [`Effect::SwitchBack`] only, by one rename each.
//! 7. Every state has an exit: it ends in `Committed` with the new version, or with the old one running.
//! 8. A release that failed by its own fault is never tried again; other failures are counted and paused.
//! 9. Where both versions may run at once, one of them serves at every moment: nothing is stopped before the other is
//!    ready, on the way forward and back.
//! 10. While `current` is barred and the journal knows of no swap, nothing is started or changed: a person is told why.
//!
//! [`plan`] and [`transition`] are pure. [`drive()`] observes, plans, records and acts through a [`World`].

mod back;
pub mod drive;
mod effect;
pub mod facts;
pub mod journal;
mod ledger;
mod moment;
pub mod order;
mod plan;
pub mod state;
pub mod transition;

pub use drive::{Silent, Until, Witness, World, drive};
pub use effect::Effect;
pub use facts::{Facts, Rules};
pub use journal::{Journal, JournalError, Record};
pub use ledger::{Attempts, Bad, Ledger, Left, Trouble};
pub use moment::Moment;
pub use order::{Order, Standing, Stay, Wanted};
pub use plan::{Action, plan};
pub use state::{Blame, Candidate, State, Swap};
pub use transition::Outcome;
