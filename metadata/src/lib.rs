//! The shared language of Countersign, and the law that turns untrusted bytes into proofs.
//!
//! The library is pure: no clock, disk, network or randomness. `now`, bytes and limits are arguments.

pub mod attestation;
#[cfg(feature = "authoring")]
pub mod authoring;
pub mod canonical;
pub mod delta;
pub mod digest;
pub mod dsse;
pub mod key;
pub mod layout;
pub mod name;
pub mod node;
pub mod release;
pub mod request;
pub mod rollout;
#[cfg(feature = "sigstore")]
pub mod sigstore;
pub mod statement;
pub mod threshold;
pub mod trust;
pub mod trusted_root;
pub mod waiver;
pub mod word;

pub use delta::Delta;
pub use digest::Sha256;
pub use key::{KeyId, PublicKey};
pub use name::{ActionId, Area, Platform, Product, Version};
pub use node::NodeSpec;
pub use release::Release;
pub use rollout::Rollout;
