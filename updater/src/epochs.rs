//! Schemas of one area across two versions: what must be migrated forward, and what must be on the way back. Pure.
//!
//! A version writes one schema of an area and reads that and perhaps others. Data may hold several: what a version reads
//! without a migration may stay as it was.

use std::collections::{BTreeMap, BTreeSet};

use countersign_metadata::Area;
use serde::{Deserialize, Serialize};

/// Schemas by area, beside the one that is written.
pub type Others = BTreeMap<Area, BTreeSet<u32>>;

/// What a version writes and reads.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// The schema that it writes, by area.
    pub writes: &'a BTreeMap<Area, u32>,
    /// The schemas that it reads beside.
    pub reads: &'a Others,
}

impl Version<'_> {
    fn reads(&self, area: &Area, schema: u32) -> bool {
        self.writes.get(area) == Some(&schema)
            || self.reads.get(area).is_some_and(|reads| reads.contains(&schema))
    }
}

/// How an area comes from the old version to the new one, and back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crossing {
    /// The area.
    pub area: Area,
    /// What the data has.
    pub from: u32,
    /// What the new version writes.
    pub to: u32,
    /// The new version reads all that the data may hold: nothing is run forward.
    pub lazy: bool,
    /// The old version reads what the new one writes: nothing is run on the way back.
    pub open: bool,
}

/// The areas that must be migrated in at least one direction. `held` is what the old version's data may hold beside the
/// schema that it writes. An area that only one of the two knows is its own affair.
pub fn crossings(old: Version<'_>, held: &Others, new: Version<'_>) -> Vec<Crossing> {
    let known =
        new.writes.iter().filter_map(|(area, &to)| Some((area, *old.writes.get(area)?, to)));
    let crossings = known.map(|(area, writes, to)| {
        let unread = holds(area, writes, held).into_iter().find(|s| !new.reads(area, *s));
        // Where both write the same, what is left over from before is what has to come along.
        let from = if writes == to { unread.unwrap_or(writes) } else { writes };
        let (lazy, open) = (unread.is_none(), old.reads(area, to));
        Crossing { area: area.clone(), from, to, lazy, open }
    });
    crossings.filter(|crossing| !(crossing.lazy && crossing.open)).collect()
}

/// What the data may hold beside what `new` writes, once it took over: whatever no migration brought along.
pub fn held_after(old: Version<'_>, held: &Others, new: Version<'_>) -> Others {
    let crossings = crossings(old, held, new);
    let ran = |area: &Area| crossings.iter().any(|c| c.area == *area && !c.lazy);
    let left = new.writes.iter().filter(|(area, _)| !ran(area)).filter_map(|(area, to)| {
        let mut left = holds(area, *old.writes.get(area)?, held);
        left.remove(to);
        (!left.is_empty()).then(|| (area.clone(), left))
    });
    left.collect()
}

/// What the data may hold beside what `old` writes, once it has come back from `new`: what `old` reads stays.
pub fn held_back(old: Version<'_>, held: &Others, new: Version<'_>) -> Others {
    let mut left = held.clone();
    for (area, to) in new.writes {
        let Some(writes) = old.writes.get(area) else { continue };
        if to != writes && old.reads(area, *to) {
            left.entry(area.clone()).or_default().insert(*to);
        }
    }
    left
}

fn holds(area: &Area, writes: u32, held: &Others) -> BTreeSet<u32> {
    let mut all = held.get(area).cloned().unwrap_or_default();
    all.insert(writes);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area() -> Area {
        "values".parse().unwrap()
    }

    fn one(schema: u32) -> BTreeMap<Area, u32> {
        BTreeMap::from([(area(), schema)])
    }

    fn others(schemas: &[u32]) -> Others {
        match schemas {
            [] => Others::new(),
            some => BTreeMap::from([(area(), some.iter().copied().collect())]),
        }
    }

    /// (writes, reads) of the old version, what its data holds, (writes, reads) of the new one.
    fn cross(
        old: (u32, &[u32]),
        held: &[u32],
        new: (u32, &[u32]),
    ) -> Option<(u32, u32, bool, bool)> {
        let (old_writes, old_reads) = (one(old.0), others(old.1));
        let (new_writes, new_reads) = (one(new.0), others(new.1));
        let found = crossings(
            Version { writes: &old_writes, reads: &old_reads },
            &others(held),
            Version { writes: &new_writes, reads: &new_reads },
        );
        found.first().map(|c| (c.from, c.to, c.lazy, c.open))
    }

    #[test]
    fn an_area_is_migrated_only_in_the_direction_in_which_nobody_reads_it() {
        let (must, lazy, open) = ((false, false), (true, false), (false, true));
        for (old, held, new, wanted) in [
            ((1, &[][..]), &[][..], (1, &[][..]), None),
            ((1, &[]), &[], (2, &[]), Some((1, 2, must))),
            ((1, &[]), &[], (3, &[2]), Some((1, 3, must))),
            ((3, &[]), &[], (2, &[]), Some((3, 2, must))),
            ((1, &[]), &[], (2, &[1]), Some((1, 2, lazy))),
            ((1, &[2]), &[], (2, &[]), Some((1, 2, open))),
            ((1, &[2]), &[], (2, &[1]), None),
            // What was left over counts: schema 1 is still there, and the newest version does not know it.
            ((2, &[1]), &[1], (3, &[2]), Some((2, 3, must))),
            ((2, &[1]), &[1], (2, &[]), Some((1, 2, open))),
            ((2, &[1]), &[1], (2, &[1]), None),
            ((2, &[1]), &[1], (3, &[1, 2]), Some((2, 3, lazy))),
        ] {
            let found = cross(old, held, new);
            let wanted = wanted.map(|(from, to, (lazy, open))| (from, to, lazy, open));
            assert_eq!(found, wanted, "{old:?} holding {held:?} to {new:?}");
        }
    }

    #[test]
    fn what_no_migration_brought_along_is_remembered() {
        let after = |old: (u32, &[u32]), held: &[u32], new: (u32, &[u32])| {
            let (old_writes, old_reads) = (one(old.0), others(old.1));
            let (new_writes, new_reads) = (one(new.0), others(new.1));
            let (old, new) = (
                Version { writes: &old_writes, reads: &old_reads },
                Version { writes: &new_writes, reads: &new_reads },
            );
            let held = others(held);
            (held_after(old, &held, new), held_back(old, &held, new))
        };
        assert_eq!(after((1, &[]), &[], (2, &[])), (others(&[]), others(&[])));
        assert_eq!(after((1, &[]), &[], (2, &[1])), (others(&[1]), others(&[])));
        assert_eq!(after((2, &[1]), &[1], (3, &[1, 2])), (others(&[1, 2]), others(&[1])));
        assert_eq!(after((2, &[1]), &[1], (3, &[2])), (others(&[]), others(&[1])));
        assert_eq!(after((1, &[2]), &[], (2, &[1])), (others(&[1]), others(&[2])));
        assert_eq!(after((2, &[1]), &[1], (2, &[])), (others(&[]), others(&[1])));
    }
}
