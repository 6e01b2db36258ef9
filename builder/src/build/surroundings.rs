//! Where a build believes to run: plain, or with this and that varied, as its recipe wants or with everything held.

use std::time::{Duration, SystemTime};

use countersign_sandbox::{Clock, Identity, Machine, Mask, Random};

use super::locale;
use super::variation::{Kind, Variation};
use crate::recipe::{BuildSpec, ClockSpec, RandomSpec};

const DAY: i64 = 86_400;
/// How far a varied clock is ahead: three years and a bit, in seconds.
const AHEAD: i64 = 1135 * DAY;
/// Another time zone, in the two ways that it is told: written out by POSIX rules, which needs no time zone files
/// inside, and in seconds.
const ZONE: (&str, i64) = ("XXX-13:30", 13 * 3600 + 1800);
/// How long before midnight, where it is, a build starts that is to see it pass.
const BEFORE_MIDNIGHT: i64 = 2;
/// What decides held random bytes, plain and varied.
const SEEDS: (u64, u64) = (0x636f_756e_7465_7273, 0x6469_6666_6572_6e74);
/// What memory a build is told of whose recipe sets no limit.
const MEMORY: u64 = 4 << 30;
/// Words that make a compiler ask the processor what it can do: the bytes then depend on the machine, and the
/// processor's answer cannot be masked.
const CPU_NATIVE: [&str; 4] =
    ["-march=native", "-mcpu=native", "-mtune=native", "target-cpu=native"];

/// What is held still, whatever the recipe says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stillness {
    /// What the recipe holds.
    #[default]
    AsWritten,
    /// Clock and randomness too: two such builds differ by what is varied, or by a race.
    Still,
    /// The same, while starts of processes and threads are disturbed; the number is the disturbance's seed.
    Disturbed(u64),
}

/// Where a build believes to run.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    /// The directory that holds `src`, `home` and `vendor`.
    pub(super) base: &'static str,
    /// `HOME`; a place of its own where varied.
    pub(super) home: String,
    /// The four octal digits.
    pub(super) umask: &'static str,
    pub(super) identity: Identity,
    pub(super) machine: Machine,
    /// Variables, in the order in which they are set.
    pub(super) environment: Vec<(String, String)>,
    pub(super) laying: Laying,
    /// Whether a locale is compiled before the first step.
    pub(super) locale: bool,
    /// Whether the build directory lies on the machine's disk.
    pub(super) on_disk: bool,
    /// Whether standard input is a pipe.
    pub(super) piped: bool,
    /// Whether there are other limits.
    pub(super) limited: bool,
}

/// How the source is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laying {
    /// From the last name to the first.
    pub(super) reversed: bool,
    /// The time of every file, if not the archive's.
    pub(super) mtime: Option<u64>,
}

impl Surroundings {
    pub(super) fn new(
        build: &BuildSpec,
        has_rust: bool,
        variation: &Variation,
        stillness: Stillness,
    ) -> Self {
        let varied = |kind| variation.has(kind);
        let pick = |kind, plain: &'static str, other: &'static str| {
            if varied(kind) { other } else { plain }
        };
        let base = pick(Kind::Path, "/build", "/other/place/of-a-longer-name");
        let home = match varied(Kind::Home) {
            true => "/elsewhere/home-of-another".to_owned(),
            false => format!("{base}/home"),
        };
        let number = if varied(Kind::User) { 4321 } else { 1000 };
        let identity = Identity {
            user: pick(Kind::User, "build", "somebody").to_owned(),
            uid: number,
            gid: number,
            hostname: pick(Kind::Hostname, "countersign", "another-host").to_owned(),
            domain: pick(Kind::Domain, "localdomain", "elsewhere.example").to_owned(),
        };
        let path = match varied(Kind::SearchPath) {
            false => search_path(has_rust),
            true => {
                format!(
                    "/nowhere/bin:{}/bin:/usr/bin:/sbin:/usr/sbin:/nowhere/sbin",
                    rust(has_rust)
                )
            }
        };
        let locale = pick(Kind::Locale, "C.UTF-8", locale::NAME);
        let mut environment: Vec<(String, String)> = [
            ("PATH", path),
            ("HOME", home.clone()),
            ("TMPDIR", "/tmp".to_owned()),
            ("USER", identity.user.clone()),
            ("LOGNAME", identity.user.clone()),
            ("SHELL", "/bin/sh".to_owned()),
            ("LANG", locale.to_owned()),
            ("LC_ALL", locale.to_owned()),
            ("TZ", pick(Kind::Timezone, "UTC", ZONE.0).to_owned()),
            ("SOURCE_DATE_EPOCH", build.source_date_epoch.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        if has_rust {
            environment.push(("CARGO_HOME".to_owned(), format!("{home}/.cargo")));
            environment.push(("CARGO_INCREMENTAL".to_owned(), "0".to_owned()));
        }
        if varied(Kind::Environment) {
            let value = "a-variable-that-is-not-always-there".to_owned();
            environment.push(("COUNTERSIGN_VARIED".to_owned(), value));
        }
        environment.extend(build.environment.clone());
        let later = build.source_date_epoch + 40 * DAY.unsigned_abs();
        Self {
            base,
            home,
            umask: pick(Kind::Umask, "0022", "0077"),
            identity,
            machine: machine(build, variation, stillness),
            environment,
            laying: Laying {
                reversed: varied(Kind::DirectoryOrder),
                mtime: varied(Kind::Mtimes).then_some(later),
            },
            locale: varied(Kind::Locale),
            on_disk: varied(Kind::FileSystem),
            piped: varied(Kind::Stdin),
            limited: varied(Kind::Rlimits),
        }
    }
}

/// `PATH`.
pub(crate) fn search_path(has_rust: bool) -> String {
    format!("{}/usr/bin:/bin:/usr/sbin:/sbin", rust(has_rust))
}

fn rust(has_rust: bool) -> &'static str {
    if has_rust { "/opt/rust/bin:" } else { "" }
}

fn machine(build: &BuildSpec, variation: &Variation, stillness: Stillness) -> Machine {
    let varied = |kind| variation.has(kind);
    let cpus = match (build.cpus, varied(Kind::Cpus)) {
        (cpus, false) => cpus,
        (1, true) => 2,
        (_, true) => 1,
    };
    let is_still = stillness != Stillness::AsWritten;
    let random = match (build.random, is_still) {
        (RandomSpec::Real, false) => Random::Real,
        (RandomSpec::Real, true) if varied(Kind::Randomness) => Random::Held(SEEDS.1),
        _ => Random::Held(SEEDS.0),
    };
    let memory = build.limits.memory_mib.map_or(MEMORY, |mib| mib << 20);
    let mut mask = Mask { memory, ..Mask::default() };
    if varied(Kind::Kernel) {
        mask.kernel_release = "7.77.0-another".to_owned();
        mask.kernel_version = "#77 SMP PREEMPT_DYNAMIC of another day".to_owned();
    }
    if varied(Kind::MachineId) {
        mask.machine_id = 0xa_0070_0ca1_1ed0_u64;
    }
    if varied(Kind::Memory) {
        mask.memory = memory / 4 * 3;
    }
    if varied(Kind::Disk) {
        mask.disk = mask.disk / 64 * 37;
    }
    Machine {
        cpus: Some(cpus),
        clock: clock(build, variation, is_still),
        aslr: varied(Kind::Aslr),
        mask: Some(mask),
        random,
        watch: CPU_NATIVE.map(str::to_owned).into(),
        jitter: match stillness {
            Stillness::Disturbed(seed) => Some(seed),
            Stillness::AsWritten | Stillness::Still => None,
        },
    }
}

fn clock(build: &BuildSpec, variation: &Variation, is_still: bool) -> Clock {
    let epoch = i64::try_from(build.source_date_epoch).unwrap_or(0);
    // What the machine's clock says no longer reaches the build.
    if build.clock == ClockSpec::Held {
        return Clock::Held(epoch);
    }
    let start = if is_still { epoch } else { now() };
    let mut shown = start;
    if variation.has(Kind::Time) {
        shown += AHEAD;
    }
    if variation.has(Kind::Midnight) {
        let zone = if variation.has(Kind::Timezone) { ZONE.1 } else { 0 };
        shown += DAY - BEFORE_MIDNIGHT - (shown + zone).rem_euclid(DAY);
    }
    match (is_still, shown == start) {
        (true, _) => Clock::Held(shown),
        (false, true) => Clock::Real,
        (false, false) => Clock::Offset(shown - start),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(more: &str) -> BuildSpec {
        toml::from_str(&format!("steps = [\"true\"]\n{more}")).unwrap()
    }

    #[test]
    fn every_kind_changes_the_surroundings_of_a_still_build() {
        let build = build("");
        let shown =
            |v: &Variation| format!("{:?}", Surroundings::new(&build, true, v, Stillness::Still));
        let plain = shown(&Variation::none());
        for kind in Kind::ALL {
            assert_ne!(shown(&Variation::from_iter([kind])), plain, "{kind}");
        }
    }

    #[test]
    fn what_a_recipe_holds_is_held_whatever_is_varied() {
        let held = build("clock = \"held\"\nrandom = \"held\"");
        for stillness in [Stillness::AsWritten, Stillness::Still] {
            let machine = machine(&held, &Variation::all(), stillness);
            assert_eq!(machine.clock, Clock::Held(1_767_225_600));
            assert_eq!(machine.random, Random::Held(SEEDS.0));
        }
    }

    #[test]
    fn midnight_comes_soon_and_years_ahead_of_time_if_both_are_varied() {
        let both = Variation::from_iter([Kind::Time, Kind::Midnight]);
        let Clock::Held(at) = clock(&build(""), &both, true) else { panic!("not held") };
        assert_eq!(at.rem_euclid(DAY), DAY - BEFORE_MIDNIGHT);
        assert!(at > 1_767_225_600 + AHEAD);
        let elsewhere = Variation::from_iter([Kind::Timezone, Kind::Midnight]);
        let Clock::Held(at) = clock(&build(""), &elsewhere, true) else { panic!("not held") };
        assert_eq!((at + ZONE.1).rem_euclid(DAY), DAY - BEFORE_MIDNIGHT);
        let midnight = Variation::from_iter([Kind::Midnight]);
        let Clock::Offset(by) = clock(&build(""), &midnight, false) else { panic!("not moved") };
        assert!(by.abs() <= DAY);
    }
}
