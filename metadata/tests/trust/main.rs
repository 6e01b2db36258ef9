//! The law for readers against an honest repository, and against each way to lie. Tests are named by the defect.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[expect(dead_code, reason = "shared with the tests of the program, which need more of it")]
#[path = "../common/key.rs"]
mod key;
mod simulator;

mod bins;
mod floors;
mod freshness;
mod honest;
mod limits;
mod lookup;
mod others;
mod products;
mod rollback;
mod roots;
mod signatures;

use countersign_metadata::layout;
use countersign_metadata::trust::{Trust, TrustError};
use simulator::{Simulator, now};

/// A new client's first refresh.
pub(crate) fn refresh(simulator: &mut Simulator) -> Result<Trust, TrustError> {
    let root = simulator.files[&layout::metadata("root", 1)].clone();
    let mut trust = Trust::from_root(&root)?;
    trust.refresh(now(), simulator)?;
    Ok(trust)
}

pub(crate) fn expired(error: TrustError, wanted: &str) {
    assert!(matches!(&error, TrustError::Expired { role, .. } if role == wanted), "{error:?}");
    assert!(!error.retry());
}

pub(crate) fn rolled_back(error: TrustError, wanted: &str) {
    assert!(
        matches!(&error, TrustError::Rollback { role, .. } if role.starts_with(wanted)),
        "{error:?}"
    );
}
