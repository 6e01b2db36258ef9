//! A second wall behind the read-only tree: Landlock lets the payload write only beneath its own directories.

use std::os::fd::AsFd;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::tree::Tree;
use crate::capability::LANDLOCK;
use crate::error::{Failure, Staged};

/// The lowest accepted: Linux 5.19. Version 1 forbids every rename between directories.
pub(crate) const LOWEST: ABI = ABI::V2;

/// What is used where the kernel has it: truncation (3), device control (5), and no signals or abstract
/// sockets to anyone outside (6).
const HIGHEST: ABI = ABI::V6;

/// Whether this kernel has at least [`LOWEST`].
pub(crate) fn probe() -> Staged<()> {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LOWEST))
        .and_then(Ruleset::create)
        .map(drop)
        .map_err(missing)
}

/// Restricts the calling thread, which must be the only one, for good. `given_programs`: what it may write it may not
/// execute.
pub(crate) fn confine(tree: &Tree, given_programs: bool) -> Staged<()> {
    restrict(tree, given_programs)
        .map_err(missing)?
        .then_some(())
        .ok_or_else(|| missing("the kernel did not enforce it"))
}

fn restrict(tree: &Tree, given_programs: bool) -> Result<bool, Box<dyn std::error::Error>> {
    let everything = AccessFs::from_all(HIGHEST);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LOWEST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(everything)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    // Rights add up along a path: what "/" allows is allowed in every directory.
    let read = AccessFs::from_read(HIGHEST);
    let root = if given_programs { read & !AccessFs::Execute } else { read };
    rules = rules.add_rule(PathBeneath::new(PathFd::new("/")?, root))?;
    for given in tree.given.iter().filter(|_| given_programs) {
        let access = if is_dir(given)? { read } else { read & AccessFs::from_file(HIGHEST) };
        rules = rules.add_rule(PathBeneath::new(given.as_fd(), access))?;
    }
    for device in &tree.devices {
        let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
        rules = rules.add_rule(PathBeneath::new(device.as_fd(), access))?;
    }
    for directory in &tree.writable {
        // The caller may have given a single file.
        let everything = match given_programs {
            true => everything & !AccessFs::Execute,
            false => everything,
        };
        let access =
            if is_dir(directory)? { everything } else { everything & AccessFs::from_file(HIGHEST) };
        rules = rules.add_rule(PathBeneath::new(directory.as_fd(), access))?;
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

fn is_dir(fd: impl AsFd) -> nix::Result<bool> {
    Ok(nix::sys::stat::fstat(fd)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn missing(error: impl ToString) -> Failure {
    Failure::missing(LANDLOCK, error.to_string())
}
