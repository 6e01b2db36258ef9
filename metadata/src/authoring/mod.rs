//! Drafting, merging and publishing: bytes in, bytes out. Disk, clock and signer belong to the program.
//!
//! ```text
//! Plan ──Draft::init──▶ Draft ◀──Draft::release── Published + Release
//!                         │ parts(): one SigningRequest a role      Signature ──Part::accept──▶ Accepted
//!                         ▼                                                                      │
//!                  Part::complete(accepted) ──▶ SignedRole ──Publication::prepare──▶ Publication ▼
//!                                                   files in their order, timestamp.json last; check() first
//! ```

mod accept;
mod draft;
mod error;
mod publication;
mod published;
mod release;
mod revoke;
mod roles;
mod rollout;
mod rotate;
mod trusted_root;

pub use accept::{Accepted, Circle, Evidence, Refused, RoleStatus, SignedRole};
pub use draft::{Draft, DraftState, Part};
pub use error::AuthoringError;
pub use publication::{Expiry, OnlineSigner, Publication};
pub use published::Published;
pub use roles::{Holder, Plan, seconds};
pub use rotate::Rotation;
