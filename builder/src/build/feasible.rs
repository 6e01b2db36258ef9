//! What of a variation can be had here: what cannot is said by name, and never counted as varied.

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use serde::Serialize;

use super::locale;
use super::variation::{Kind, Variation};
use crate::prepare::Prepared;
use crate::recipe::{ClockSpec, RandomSpec};

/// Something that was to be varied, and was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotVaried {
    /// What.
    pub kind: Kind,
    /// Why not.
    pub why: &'static str,
}

/// The part of `wanted` that can be varied here, and the rest.
pub fn feasible(prepared: &Prepared, wanted: &Variation) -> (Variation, Vec<NotVaried>) {
    let mut not = Vec::new();
    let possible = wanted
        .kinds()
        .filter(|kind| match hindrance(prepared, *kind) {
            Some(why) => {
                not.push(NotVaried { kind: *kind, why });
                false
            }
            None => true,
        })
        .collect();
    (possible, not)
}

fn hindrance(prepared: &Prepared, kind: Kind) -> Option<&'static str> {
    let build = &prepared.recipe.spec().build;
    let sets = |name: &str| build.environment.contains_key(name);
    let (hinders, why) = match kind {
        Kind::Time | Kind::Midnight => {
            (build.clock == ClockSpec::Held, "the recipe holds the clock")
        }
        Kind::Randomness => (build.random == RandomSpec::Held, "the recipe holds randomness"),
        Kind::Timezone => (sets("TZ"), "the recipe sets TZ"),
        Kind::SearchPath => (sets("PATH"), "the recipe sets PATH"),
        Kind::Locale if sets("LC_ALL") => (true, "the recipe sets LC_ALL"),
        Kind::Locale => (
            !locale::is_possible(prepared.environment.root()),
            "the environment has no localedef to make another locale with",
        ),
        Kind::Cpus => {
            let here = std::thread::available_parallelism().map_or(1, usize::from);
            (build.cpus == 1 && here < 2, "this machine has one CPU, and the recipe asks for one")
        }
        Kind::FileSystem => {
            let kind = statfs(&std::env::temp_dir()).map(|disk| disk.filesystem_type());
            (kind == Ok(TMPFS_MAGIC), "the directory for scratch (TMPDIR) is in memory too")
        }
        _ => return None,
    };
    hinders.then_some(why)
}
