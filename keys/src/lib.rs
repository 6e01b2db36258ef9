//! Every secret key and every signature of Countersign, and what a keyholder is shown before signing.
//!
//! ```text
//! NAME.key        a minisign secret key file, mode 0600     NAME.pub    its public half
//! NAME.root.json  the root that this keyholder pinned; every request is judged from there
//! ```
//!
//! A signature over a request has one way into the world: [`review::review`] proves and explains the request,
//! [`sign::sign`] takes the [`review::Reviewed`] that came out of it.

pub mod agent;
mod der;
pub mod import;
pub mod keyfile;
pub mod label;
pub mod minisig;
pub mod pin;
pub mod pkcs8;
pub mod raw;
mod rebuilt;
pub mod refused;
pub mod review;
pub mod secret;
pub mod sign;
pub mod store;
pub mod token;

pub use keyfile::{KeyFile, Protection};
pub use refused::Refused;
pub use secret::{Password, SecretKey};
