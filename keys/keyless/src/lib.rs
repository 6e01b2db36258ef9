//! Signing without a key of one's own: an identity that a third party vouches for, a key for one signature, a log.
//!
//! ```text
//! token + Ephemeral ──Fulcio──▶ certificate ──sign──▶ signature ──TSA──▶ time ──Rekor──▶ entry ──verify──▶ bundle v0.3
//! envelope of countersign-keys attest (P-256) ────────────────────▶ time ──Rekor──▶ entry ──verify──▶ bundle v0.3
//! ```
//!
//! A crate of its own, since it is the one place where a secret and a network meet: the secrets are an identity token
//! that is good for minutes and a key that is gone with the process. `countersign-keys`, which holds lasting keys, has
//! no network client and is not linked here. What the services answer is believed only as far as the instance's
//! `trusted_root.json` proves it: see [`countersign_metadata::sigstore`].

pub mod ephemeral;
pub mod instance;
pub mod service;
pub mod token;

pub use ephemeral::Ephemeral;
pub use instance::Instance;
pub use token::Token;
