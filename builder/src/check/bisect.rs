//! Which members of a set make something differ, in few trials: halves of halves, and what is left once more.
//!
//! A set that differs is halved, and each half that differs again. A member that differs alone is found in about
//! `2 log2(n)` trials. Where neither half differs by itself, members of both are needed: the set is shrunk until none
//! can be left out. What was found is taken away and the rest is tried again, so that nothing hides behind anything.

use std::collections::BTreeMap;

/// Groups of members, each of which makes the trial differ; a group of several does so only together.
///
/// # Errors
/// What `differs` says, when it cannot say.
pub(super) fn guilty<T: Copy + Ord, E>(
    all: &[T],
    differs: &mut dyn FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<Vec<T>>, E> {
    let mut trials = Trials { known: BTreeMap::new(), differs };
    let mut left = all.to_vec();
    let mut found = Vec::new();
    while trials.differ(&left)? {
        for group in trials.within(&left)? {
            left.retain(|member| !group.contains(member));
            found.push(group);
        }
    }
    found.sort();
    Ok(found)
}

struct Trials<'a, T, E> {
    known: BTreeMap<Vec<T>, bool>,
    differs: &'a mut dyn FnMut(&[T]) -> Result<bool, E>,
}

impl<T: Copy + Ord, E> Trials<'_, T, E> {
    /// No trial is made twice, and none for nothing.
    fn differ(&mut self, set: &[T]) -> Result<bool, E> {
        if set.is_empty() {
            return Ok(false);
        }
        if let Some(known) = self.known.get(set) {
            return Ok(*known);
        }
        let differs = (self.differs)(set)?;
        self.known.insert(set.to_vec(), differs);
        Ok(differs)
    }

    /// The guilty within a set that differs.
    fn within(&mut self, set: &[T]) -> Result<Vec<Vec<T>>, E> {
        if set.len() == 1 {
            return Ok(vec![set.to_vec()]);
        }
        let (one, other) = set.split_at(set.len() / 2);
        let mut found = Vec::new();
        for half in [one, other] {
            if self.differ(half)? {
                found.extend(self.within(half)?);
            }
        }
        if found.is_empty() {
            found.push(self.shrink(set)?);
        }
        Ok(found)
    }

    /// The set without all that it can do without: first in large parts, then one by one.
    fn shrink(&mut self, set: &[T]) -> Result<Vec<T>, E> {
        let mut left = set.to_vec();
        let mut part = (left.len() / 2).max(1);
        loop {
            let mut at = 0;
            while at < left.len() {
                let end = (at + part).min(left.len());
                let mut without = left[..at].to_vec();
                without.extend_from_slice(&left[end..]);
                if self.differ(&without)? {
                    left = without;
                } else {
                    at = end;
                }
            }
            if part == 1 {
                return Ok(left);
            }
            part /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found where each of `groups` makes a difference, and in how many trials.
    fn found(size: u32, groups: &[&[u32]]) -> (Vec<Vec<u32>>, u32) {
        let all: Vec<u32> = (0..size).collect();
        let mut trials = 0;
        let mut differs = |set: &[u32]| {
            trials += 1;
            let all_in = |group: &&[u32]| group.iter().all(|member| set.contains(member));
            Ok::<bool, ()>(groups.iter().any(all_in))
        };
        (guilty(&all, &mut differs).unwrap(), trials)
    }

    #[test]
    fn one_of_many_is_found_in_few_trials() {
        for guilty in 0..24 {
            let (found, trials) = found(24, &[&[guilty]]);
            assert_eq!(found, [[guilty]]);
            assert!(trials <= 12, "{trials}");
        }
    }

    #[test]
    fn each_of_several_is_found_and_nobody_else() {
        let (found, trials) = found(24, &[&[0], &[11], &[12], &[23]]);
        assert_eq!(found, [[0], [11], [12], [23]]);
        assert!(trials <= 36, "{trials}");
    }

    #[test]
    fn several_that_differ_only_together_are_named_together() {
        assert_eq!(found(24, &[&[3, 17]]).0, [vec![3, 17]]);
        assert_eq!(found(24, &[&[1, 2, 23], &[9]]).0, [vec![1, 2, 23], vec![9]]);
    }

    #[test]
    fn a_pair_does_not_hide_behind_one_that_differs_alone() {
        assert_eq!(found(24, &[&[0], &[1, 20]]).0, [vec![0], vec![1, 20]]);
    }

    #[test]
    fn nothing_is_found_where_nothing_differs() {
        assert_eq!(found(24, &[]), (Vec::new(), 1));
        assert_eq!(found(1, &[&[0]]), (vec![vec![0]], 1));
    }
}
