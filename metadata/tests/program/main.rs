//! The program `countersign-metadata`, run as people run it, with real signatures by a signer command.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "tests meet disk, clock and network")]

#[path = "../common/key.rs"]
mod key;

#[path = "../sigstore/der.rs"]
mod der;
#[expect(dead_code, reason = "shared with other tests, which need more of it")]
#[path = "../sigstore/instance.rs"]
mod instance;

mod at_once;
mod bins;
mod deltas;
mod grounds;
mod interrupted;
mod journey;
mod killed;
mod refusals;
mod renewal;
mod revocation;
mod rollout;
mod rotation;
mod serve;
mod site;
mod store;
mod store_steps;
mod strangers;
mod trusted_root;
