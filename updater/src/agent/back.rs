//! What ran before, and whether it can be gone back to.

use crate::Home;
use crate::generation::Generation;
use crate::machine::Ledger;
use crate::machine::facts::Back;
use crate::trust_store::chain;

/// What ran before `current` came in by a swap.
///
/// # Errors
/// There is nothing to go back to, or no way; the reason is for a person.
pub fn before(home: &Home, ledger: &Ledger, current: &Generation) -> Result<Back, String> {
    let left = ledger.left.as_ref().filter(|left| left.candidate.artifact == current.binary);
    let Some(left) = left else {
        return Err(format!("the journal does not know what ran before {}", current.version));
    };
    let old = Generation::read(home, left.from).map_err(|error| chain(&error))?;
    for step in left.back() {
        let area = &step.area;
        if !current.launch.migrations.contains_key(area) {
            return Err(format!("{} brings no migration of {area} back", current.version));
        }
        // A backward migration that fails ends in the snapshot, with what was written since kept aside.
        if !home.snapshot(left.from).join("manifest.json").is_file() {
            return Err(format!(
                "{area} has to be migrated back, and the snapshot from before {} is gone",
                current.version
            ));
        }
    }
    if !home.stored(&old.binary).is_dir() {
        return Err(format!("version {} is not in the store any more", old.version));
    }
    Ok(Back { left: left.clone(), version: old.version })
}
