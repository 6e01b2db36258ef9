//! The node's updater as a library: what is trusted, which release is taken, how it is tried and swapped in.
//!
//! The chain of proofs: `Trust` gives [`VerifiedTarget`](countersign_metadata::trust::VerifiedTarget), the policy
//! [`policy::Approved`], the mirror [`fetch::Fetched`], the disk [`stage::StagedVersion`], the shadow
//! [`shadow::Cleared`]. Each has one birthplace, and the next step demands it.

pub mod agent;
pub mod backup;
pub mod config;
pub mod doctor;
pub mod durable;
pub mod epochs;
pub mod fetch;
#[cfg(test)]
mod fixture;
pub mod generation;
pub mod hold;
pub mod home;
pub mod http;
pub mod machine;
pub mod mirrors;
pub mod net;
pub mod peer;
pub mod policy;
pub mod probation;
pub mod rebuilder;
pub mod seen;
pub mod selfupdate;
pub mod shadow;
pub mod shelf;
pub mod stage;
pub mod state;
pub mod supervise;
pub mod swap;
pub mod systemd;
pub mod trust_store;
pub mod verify;

pub use config::Config;
pub use home::Home;
