//! The swap's own writes: the generation that comes next, and the rename of `current` that makes it so.

pub mod lease;
pub mod marker;

use countersign_metadata::{NodeSpec, Sha256};

use crate::epochs::{self, Others};
use crate::generation::{self, Generation, GenerationError, Launch};
use crate::shadow::Cleared;
use crate::stage::StagedVersion;
use crate::{Config, Home};

pub use lease::{Lease, LeaseError};

/// What `current` may name next. Its birthplaces are [`forward`], which demands that the release was cleared in the
/// shadow, [`back`], to what ran before, and for the state of a backup [`restored`] and [`adopted`].
#[derive(Clone, Debug)]
pub struct Next(Generation);

/// The cleared release on data directory `data`. `None`: the clearance is another release's, or it is no node.
pub fn forward(
    config: &Config,
    staged: &StagedVersion,
    cleared: &Cleared,
    old: &Generation,
    data: u64,
) -> Option<Next> {
    let same = cleared.artifact() == staged.identity();
    let next = described(config, staged, data).filter(|_| same)?;
    let held = epochs::held_after(old.schemas(), &old.held, next.schemas());
    Some(Next(Generation { held, ..next }))
}

/// The old generation again, on data directory `data`, which `new` may have written, if it is given.
pub fn back(old: &Generation, data: u64, new: Option<epochs::Version<'_>>) -> Next {
    let held = match new {
        Some(new) => epochs::held_back(old.schemas(), &old.held, new),
        None => old.held.clone(),
    };
    Next(Generation { number: 0, state: data, held, ..old.clone() })
}

/// What ran on the state of a backup, staged here again, on data directory `data`, which holds that state. `None`: it
/// is another release, or reads other schemas.
pub fn restored(
    config: &Config,
    staged: &StagedVersion,
    saved: &Generation,
    data: u64,
) -> Option<Next> {
    let same = |next: &Generation| {
        next.binary == saved.binary
            && next.areas == saved.areas
            && next.launch.reads == saved.launch.reads
    };
    let next = described(config, staged, data).filter(same)?;
    Some(Next(Generation { held: saved.held.clone(), ..next }))
}

/// What is installed, on data directory `data`, which holds the state of a backup and was migrated from its schemas.
pub fn adopted(current: &Generation, saved: &Generation, data: u64) -> Next {
    let held = epochs::held_after(saved.schemas(), &saved.held, current.schemas());
    Next(Generation { number: 0, state: data, held, ..current.clone() })
}

/// How `staged` would be launched on data directory `data`: for its commands, not for starting it.
pub fn described(config: &Config, staged: &StagedVersion, data: u64) -> Option<Generation> {
    let release = staged.release();
    let node: &NodeSpec = release.node.as_ref()?;
    Some(Generation {
        number: 0,
        product: release.product.clone(),
        version: release.version.clone(),
        binary: release.artifact.sha256,
        state: data,
        areas: node.areas.iter().map(|(area, spec)| (area.clone(), spec.schema)).collect(),
        held: Others::new(),
        protocol: release.protocol,
        launch: Launch::new(node, &config.listen),
    })
}

/// Makes the rename durable once more if `current` names this artifact already, and says its number.
///
/// # Errors
/// The disk fails.
pub fn already(home: &Home, artifact: &Sha256) -> Result<Option<u64>, GenerationError> {
    match Generation::current(home)?.filter(|current| current.binary == *artifact) {
        Some(current) => {
            generation::switch_to(home, current.number)?;
            Ok(Some(current.number))
        }
        None => Ok(None),
    }
}

/// Writes what comes next under the next free number and renames `current` to it: the commit point. Doing it again
/// after a crash, at whatever point, leads to the same place.
///
/// # Errors
/// The disk fails; `current` is then as it was or as it should be.
pub fn switch(home: &Home, next: &Next) -> Result<u64, GenerationError> {
    let Next(wanted) = next;
    let is_wanted = |there: &Generation| Generation { number: 0, ..there.clone() } == *wanted;
    if let Some(current) = Generation::current(home)?.filter(is_wanted) {
        // Read back and made durable again: the rename may not have reached the disk.
        generation::switch_to(home, current.number)?;
        return Ok(current.number);
    }
    let last = Generation::last_number(home)?;
    let number = match Generation::read(home, last) {
        Ok(there) if is_wanted(&there) => last,
        _ => last + 1,
    };
    Generation { number, ..wanted.clone() }.write(home)?;
    generation::switch_to(home, number)?;
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::current;

    fn generation(binary: &[u8]) -> Generation {
        let spec: NodeSpec =
            serde_json::from_value(serde_json::json!({ "command": ["bin/n"] })).unwrap();
        Generation {
            number: 0,
            product: "p".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            binary: Sha256::of(binary),
            state: 1,
            areas: std::collections::BTreeMap::new(),
            held: Others::new(),
            protocol: None,
            launch: Launch::new(&spec, &std::collections::BTreeMap::new()),
        }
    }

    #[test]
    fn a_switch_that_is_done_twice_is_done_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        assert_eq!(switch(&home, &Next(generation(b"old"))).unwrap(), 1);
        assert_eq!(switch(&home, &Next(generation(b"old"))).unwrap(), 1);
        // Cut off between the file and the rename: the number is used again.
        Generation { number: 2, ..generation(b"new") }.write(&home).unwrap();
        assert_eq!(switch(&home, &Next(generation(b"new"))).unwrap(), 2);
        assert_eq!(switch(&home, &back(&generation(b"old"), 2, None)).unwrap(), 3);
        assert_eq!(current(&home).unwrap(), Some(3));
        assert_eq!(already(&home, &Sha256::of(b"old")).unwrap(), Some(3));
        assert_eq!(already(&home, &Sha256::of(b"new")).unwrap(), None);
        assert_eq!(Generation::read(&home, 3).unwrap().state, 2);
    }
}
