//! What differs between machines and must not show in the bytes: where, who, when, how many.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use countersign_sandbox::{Clock, Identity, Machine};
use serde::Serialize;

use crate::recipe::{BuildSpec, ClockSpec};

/// How far a varied clock is ahead: 400 days, in seconds.
const AHEAD: i64 = 400 * 86_400;

/// One thing that can be varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The directory that it is built in.
    Path,
    /// Name and number of the user and group.
    User,
    /// The host's name.
    Hostname,
    /// The host's domain name.
    Domain,
    /// The clock, 400 days ahead.
    Time,
    /// How many CPUs are seen.
    Cpus,
    /// `TZ`.
    Timezone,
    /// `LANG` and `LC_ALL`.
    Locale,
    /// A further environment variable.
    Environment,
    /// 0077 instead of 0022.
    Umask,
    /// `HOME`.
    Home,
    /// Address space randomisation on.
    Aslr,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Path,
        Self::User,
        Self::Hostname,
        Self::Domain,
        Self::Time,
        Self::Cpus,
        Self::Timezone,
        Self::Locale,
        Self::Environment,
        Self::Umask,
        Self::Home,
        Self::Aslr,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::User => "user",
            Self::Hostname => "hostname",
            Self::Domain => "domain",
            Self::Time => "time",
            Self::Cpus => "cpus",
            Self::Timezone => "timezone",
            Self::Locale => "locale",
            Self::Environment => "environment",
            Self::Umask => "umask",
            Self::Home => "home",
            Self::Aslr => "aslr",
        }
    }

    /// What a project whose bytes depend on it can do.
    pub fn cure(self) -> &'static str {
        match self {
            Self::Path => {
                "map the directory away: -ffile-prefix-map=$PWD=. (C), --remap-path-prefix (Rust)"
            }
            Self::User => "do not embed the user's name or number",
            Self::Hostname | Self::Domain => "do not embed the host's name; set it to a fixed word",
            Self::Time => {
                "use SOURCE_DATE_EPOCH instead of the clock, or clock = \"held\" in [build]"
            }
            Self::Cpus => "do not embed the CPU count; make the work's split independent of it",
            Self::Timezone => "format dates in UTC, or set TZ in [build.environment]",
            Self::Locale => "sort and format with LC_ALL=C, or set LC_ALL in [build.environment]",
            Self::Environment => "do not embed the environment",
            Self::Umask => "do not embed file modes; use install -m",
            Self::Home => "do not embed the home directory",
            Self::Aslr => "do not order by, hash or print addresses",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of things to vary. The empty one is the plain build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Variation(BTreeSet<Kind>);

/// A word that names no variation.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no variation (all, none, or a list of {names})", names = Kind::ALL.map(Kind::name).join(","))]
pub struct NoVariation(String);

impl Variation {
    /// Nothing is varied.
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything is.
    pub fn all() -> Self {
        Self(Kind::ALL.into())
    }

    /// One thing is.
    pub fn only(kind: Kind) -> Self {
        Self(BTreeSet::from([kind]))
    }

    /// What is varied.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing is varied.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Variation {
    type Err = NoVariation;

    fn from_str(text: &str) -> Result<Self, NoVariation> {
        match text {
            "all" => return Ok(Self::all()),
            "none" => return Ok(Self::none()),
            _ => {}
        }
        let kind = |word: &str| {
            Kind::ALL
                .into_iter()
                .find(|kind| kind.name() == word.trim())
                .ok_or_else(|| NoVariation(word.chars().take(40).collect()))
        };
        Ok(Self(text.split(',').map(kind).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Variation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("none");
        }
        let names: Vec<&str> = self.0.iter().map(|kind| kind.name()).collect();
        f.write_str(&names.join(","))
    }
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
}

impl Surroundings {
    pub(super) fn new(build: &BuildSpec, has_rust: bool, variation: &Variation) -> Self {
        let varied = |kind| variation.0.contains(&kind);
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
        let clock = match build.clock {
            // What the machine's clock says no longer reaches the build.
            ClockSpec::Held => Clock::Held(i64::try_from(build.source_date_epoch).unwrap_or(0)),
            ClockSpec::Real if varied(Kind::Time) => Clock::Offset(AHEAD),
            ClockSpec::Real => Clock::Real,
        };
        let cpus = match (build.cpus, varied(Kind::Cpus)) {
            (cpus, false) => cpus,
            (1, true) => 2,
            (_, true) => 1,
        };
        let rust = if has_rust { "/opt/rust/bin:" } else { "" };
        let mut environment: Vec<(String, String)> = [
            ("PATH", format!("{rust}/usr/bin:/bin:/usr/sbin:/sbin")),
            ("HOME", home.clone()),
            ("TMPDIR", "/tmp".to_owned()),
            ("USER", identity.user.clone()),
            ("LOGNAME", identity.user.clone()),
            ("SHELL", "/bin/sh".to_owned()),
            ("LANG", pick(Kind::Locale, "C.UTF-8", "POSIX").to_owned()),
            ("LC_ALL", pick(Kind::Locale, "C.UTF-8", "POSIX").to_owned()),
            // Written out by POSIX rules: no time zone files are needed inside.
            ("TZ", pick(Kind::Timezone, "UTC", "XXX-13:30").to_owned()),
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
        Self {
            base,
            home,
            umask: pick(Kind::Umask, "0022", "0077"),
            identity,
            machine: Machine { cpus: Some(cpus), clock, aslr: varied(Kind::Aslr) },
            environment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variations_are_written_as_they_are_read() {
        assert_eq!("all".parse::<Variation>().unwrap(), Variation::all());
        let two: Variation = "time,path".parse().unwrap();
        assert_eq!(two.to_string(), "path,time");
        assert!("path,weather".parse::<Variation>().is_err());
        assert!("".parse::<Variation>().is_err());
        assert!("none".parse::<Variation>().unwrap().is_none());
    }

    #[test]
    fn every_kind_changes_the_surroundings() {
        let build: BuildSpec = toml::from_str("steps = [\"true\"]").unwrap();
        let shown = |v: &Variation| format!("{:?}", Surroundings::new(&build, true, v));
        let plain = shown(&Variation::none());
        for kind in Kind::ALL {
            assert_ne!(shown(&Variation::only(kind)), plain, "{kind}");
        }
    }
}
