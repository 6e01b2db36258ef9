//! What a build may use up: what its recipe asks for, and what whoever runs it is ready to give.

use super::DidNotBuild;
use crate::recipe::LimitsSpec;

/// What a recipe may not go beyond on this machine. A stranger's recipe says its own limits; these hold all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// MiB of memory.
    pub memory_mib: Option<u64>,
    /// MiB of scratch space.
    pub scratch_mib: Option<u64>,
    /// Seconds.
    pub wall_seconds: Option<u64>,
}

impl Ceilings {
    /// Half of the machine's memory, where there can be a limit on memory at all.
    pub fn of_machine() -> Self {
        let has_cgroup = countersign_sandbox::capabilities()
            .iter()
            .any(|one| one.name == "memory limit" && one.missing.is_none());
        let memory_mib = if has_cgroup { half_of_memory() } else { None };
        Self { memory_mib, ..Self::default() }
    }

    /// The limits, none of them above these.
    pub(super) fn lower(&self, asked: &LimitsSpec) -> LimitsSpec {
        let at_most = |asked: u64, ceiling: Option<u64>| ceiling.map_or(asked, |c| c.min(asked));
        let memory_mib = match (asked.memory_mib, self.memory_mib) {
            (Some(asked), ceiling) => Some(at_most(asked, ceiling)),
            (None, ceiling) => ceiling,
        };
        LimitsSpec {
            memory_mib,
            processes: asked.processes,
            wall_seconds: at_most(asked.wall_seconds, self.wall_seconds),
            scratch_mib: at_most(asked.scratch_mib, self.scratch_mib),
        }
    }

    /// Which ceiling a build failed at, if its recipe allowed more.
    pub(super) fn hit(&self, reason: &DidNotBuild, asked: &LimitsSpec) -> Option<String> {
        let lower = self.lower(asked);
        match reason {
            DidNotBuild::TooLong(_) if lower.wall_seconds < asked.wall_seconds => {
                Some(format!("{} seconds (--wall)", lower.wall_seconds))
            }
            DidNotBuild::TooLarge(_) if lower.scratch_mib < asked.scratch_mib => {
                Some(format!("{} MiB of scratch space (--scratch)", lower.scratch_mib))
            }
            _ => None,
        }
    }
}

fn half_of_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kib >> 11).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_gets_no_more_than_the_ceiling_and_the_ceiling_is_named() {
        let asked = LimitsSpec::default();
        let ceilings =
            Ceilings { memory_mib: Some(512), scratch_mib: Some(64), wall_seconds: None };
        let lower = ceilings.lower(&asked);
        assert_eq!((lower.memory_mib, lower.scratch_mib), (Some(512), 64));
        assert_eq!(lower.wall_seconds, asked.wall_seconds);
        assert!(ceilings.hit(&DidNotBuild::TooLarge(64), &asked).is_some());
        assert!(ceilings.hit(&DidNotBuild::TooLong(9), &asked).is_none());
        assert_eq!(Ceilings::default().lower(&asked).memory_mib, None);
    }
}
