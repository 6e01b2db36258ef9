//! What differs between machines and must not show in the bytes: where, who, when, how many.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

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
    /// The clock, three years ahead.
    Time,
    /// Midnight of the build's time zone passes two seconds after the start.
    Midnight,
    /// Modification times of the source's files.
    Mtimes,
    /// How many CPUs are seen.
    Cpus,
    /// `TZ`.
    Timezone,
    /// `LANG` and `LC_ALL`: Estonian.
    Locale,
    /// A further environment variable.
    Environment,
    /// 0077 instead of 0022.
    Umask,
    /// `HOME`.
    Home,
    /// `PATH`: another order, and directories that are not there.
    SearchPath,
    /// The order in which directories of the source list their files.
    DirectoryOrder,
    /// The kernel's release and version.
    Kernel,
    /// Address space randomisation on.
    Aslr,
    /// Random bytes.
    Randomness,
    /// The machine id and the boot id.
    MachineId,
    /// How much memory the machine seems to have.
    Memory,
    /// How large and how full disks seem to be.
    Disk,
    /// The build directory on the machine's disk instead of in memory.
    FileSystem,
    /// Standard input: a pipe without content instead of `/dev/null`.
    Stdin,
    /// The limits on open files and on the stack.
    Rlimits,
}

/// Names and cures, in the order of [`Kind::ALL`].
const TOLD: [(Kind, &str, &str); 24] = [
    (
        Kind::Path,
        "path",
        "map the directory away: -ffile-prefix-map=$PWD=. (C), --remap-path-prefix (Rust)",
    ),
    (Kind::User, "user", "do not embed the user's name or number"),
    (Kind::Hostname, "hostname", "do not embed the host's name; set it to a fixed word"),
    (Kind::Domain, "domain", "do not embed the host's name; set it to a fixed word"),
    (
        Kind::Time,
        "time",
        "use SOURCE_DATE_EPOCH instead of the clock, or clock = \"held\" in [build]",
    ),
    (
        Kind::Midnight,
        "midnight",
        "use SOURCE_DATE_EPOCH instead of the clock, or clock = \"held\" in [build]",
    ),
    (
        Kind::Mtimes,
        "mtimes",
        "do not archive or embed modification times: tar --mtime=@$SOURCE_DATE_EPOCH, gzip -n, zip -X",
    ),
    (Kind::Cpus, "cpus", "do not embed the CPU count; make the work's split independent of it"),
    (Kind::Timezone, "timezone", "format dates in UTC, or set TZ in [build.environment]"),
    (Kind::Locale, "locale", "sort and format with LC_ALL=C, or set LC_ALL in [build.environment]"),
    (Kind::Environment, "environment", "do not embed the environment"),
    (Kind::Umask, "umask", "do not embed file modes; use install -m"),
    (Kind::Home, "home", "do not embed the home directory"),
    (Kind::SearchPath, "search-path", "do not embed PATH or where tools were found"),
    (
        Kind::DirectoryOrder,
        "directory-order",
        "sort what a directory lists: LC_ALL=C sort, sorted(os.listdir()), $(sort $(wildcard …))",
    ),
    (Kind::Kernel, "kernel", "do not embed uname; ask for the platform instead"),
    (Kind::Aslr, "aslr", "do not order by, hash or print addresses"),
    (
        Kind::Randomness,
        "randomness",
        "give it a seed (-frandom-seed=, PYTHONHASHSEED=0), or random = \"held\" in [build]",
    ),
    (Kind::MachineId, "machine-id", "do not embed the machine's or the boot's id"),
    (Kind::Memory, "memory", "do not embed the memory size; fix what is tuned by it"),
    (Kind::Disk, "disk", "do not embed disk sizes"),
    (
        Kind::FileSystem,
        "file-system",
        "sort what a directory lists; do not embed inode numbers, sizes of directories or blocks",
    ),
    (Kind::Stdin, "stdin", "do not ask what standard input is; read from /dev/null"),
    (Kind::Rlimits, "rlimits", "do not embed limits; fix what is tuned by them"),
];

impl Kind {
    /// All of them.
    pub const ALL: [Self; 24] = {
        let mut all = [Self::Path; 24];
        let mut at = 0;
        while at < all.len() {
            all[at] = TOLD[at].0;
            at += 1;
        }
        all
    };

    fn told(self) -> &'static (Self, &'static str, &'static str) {
        // The table is in the order of the variants, as the test below says.
        &TOLD[self as usize]
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        self.told().1
    }

    /// What a project whose bytes depend on it can do.
    pub fn cure(self) -> &'static str {
        self.told().2
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

    /// What is varied.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        self.0.iter().copied()
    }

    /// Whether this is varied.
    pub fn has(&self, kind: Kind) -> bool {
        self.0.contains(&kind)
    }

    /// Whether nothing is varied.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Kind> for Variation {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().collect())
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
    fn every_kind_has_its_own_line_in_the_table() {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!((kind as usize, kind.told().0), (at, kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
