//! How was it made? Recipe, lock, inputs, hermetic build, pack, rebuild, compare.
//!
//! ```text
//! Recipe ──lock──▶ Lock ──inputs, environment──▶ Job ──build──▶ Built ──pack──▶ artifact
//! release ──rebuild──▶ Reproduced | Divergence | DidNotBuild
//! ```
//!
//! Everything that a build can see is known by digest beforehand: the source tar, the locked inputs, the environment.

pub mod build;
pub mod cache;
pub mod check;
mod client;
pub mod compare;
pub mod environment;
pub mod export;
pub mod files;
pub mod http;
pub mod init;
pub mod inputs;
mod inside;
pub mod interrupt;
pub mod lock;
pub mod pack;
pub mod patience;
pub mod prepare;
pub mod provenance;
pub mod rebuild;
pub mod recipe;
pub mod sbom;
pub mod scratch;
pub mod signer;
pub mod source;

pub use inside::{Inside, NotInside};
