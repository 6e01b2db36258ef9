//! Generations: which binary runs on which state, and how. `current` names one of them.
//!
//! ```text
//! NODE/generations/3/generation.json   written once, never changed
//! NODE/current -> generations/3        replaced by one rename: the commit point of a swap
//! ```
//!
//! A generation holds all that the supervisor needs to start the node, so that the supervisor reads no
//! metadata. Paths in it are relative to the node directory, which may be moved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use countersign_metadata::node::{self, Check, Health, NodeSpec, Ready, StatePath};
use countersign_metadata::{Area, Product, Sha256, Version};
use serde::{Deserialize, Serialize};

use crate::Home;
use crate::durable::{self, DiskError};
use crate::epochs::{self, Others};

/// One generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Generation {
    /// Its number, from 1; never used twice.
    pub number: u64,
    /// The product.
    pub product: Product,
    /// The version.
    pub version: Version,
    /// The staged release, by the digest of its canonical tar.
    pub binary: Sha256,
    /// The number of its data directory.
    pub state: u64,
    /// The schema version of each area that this binary reads and writes.
    pub areas: BTreeMap<Area, u32>,
    /// Other schemas that its data may hold: what an earlier version wrote and this one reads as it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held: Others,
    /// Wire protocol versions it speaks, oldest and newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<(u32, u32)>,
    /// How it is started, asked and stopped.
    pub launch: Launch,
}

/// How a node is started, asked and stopped: the release's `[node]` under the operator's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Launch {
    /// As signed: the program is a path inside the release, `{state}` stands for the data directory.
    pub command: Vec<String>,
    /// The node's environment beside what the supervisor sets.
    pub environment: BTreeMap<String, String>,
    /// Listening sockets in the order in which they are passed, at the operator's addresses.
    pub listen: Vec<(String, SocketAddr)>,
    /// How it says that it is ready.
    pub ready: Ready,
    /// The line of output that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_line: Option<String>,
    /// What it is asked once it is ready.
    pub health: Option<Health>,
    /// Seconds between TERM and the operator being asked.
    pub stop_grace: u32,
    /// Writes a consistent copy of the state while the node runs.
    pub checkpoint: Option<Vec<String>>,
    /// How an area is brought from one schema to another.
    pub migrations: BTreeMap<Area, Vec<String>>,
    /// Schemas that it reads as they are, beside the one of each area.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reads: Others,
    /// Which areas are secret.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub secret_areas: BTreeSet<Area>,
    /// Where its secret areas lie in the data directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<StatePath>,
    /// Makes up a throw-away identity in a copy without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Vec<String>>,
    /// Whether another version may serve from the same state at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overlap: bool,
    /// Files below the data directory that are locked while it runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    /// What it is asked all through its probation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, Check>,
}

/// A generation that cannot be read, written or switched to.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No such generation.
    #[error("generation {0} is not there")]
    Missing(u64),
    /// It is there and holds something else.
    #[error("generation {0} exists already and is another one")]
    Exists(u64),
    /// Its file is damaged.
    #[error("generation {number} is damaged")]
    Damaged {
        /// Which one.
        number: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// `current` points elsewhere.
    #[error("{0} does not point to a generation")]
    BadCurrent(PathBuf),
}

/// Longest generation file, in bytes.
const MAX_FILE: u64 = 1 << 20;

impl Launch {
    /// How `node` is launched when the operator moves the sockets in `listen`.
    pub fn new(node: &NodeSpec, listen: &BTreeMap<String, SocketAddr>) -> Self {
        let migrations = node.areas.iter();
        Self {
            command: node.command.clone(),
            environment: node.environment.clone(),
            listen: node
                .listen
                .iter()
                .map(|(name, own)| (name.clone(), *listen.get(name).unwrap_or(own)))
                .collect(),
            ready: node.ready,
            ready_line: node.ready_line.clone(),
            health: node.health.clone(),
            stop_grace: node.stop_grace,
            checkpoint: node.checkpoint.clone(),
            migrations: migrations
                .filter_map(|(area, spec)| Some((area.clone(), spec.migrate.clone()?)))
                .collect(),
            reads: node
                .areas
                .iter()
                .filter(|(_, spec)| !spec.reads.is_empty())
                .map(|(area, spec)| (area.clone(), spec.reads.clone()))
                .collect(),
            secret_areas: node
                .areas
                .iter()
                .filter(|(_, spec)| spec.secret)
                .map(|(area, _)| area.clone())
                .collect(),
            secrets: node.areas.values().flat_map(|spec| spec.paths.clone()).collect(),
            identity: node.identity.clone(),
            overlap: node.overlap,
            locks: node.locks.clone(),
            checks: node.checks.clone(),
        }
    }

    /// Whether `next` may be started beside a node that was launched like this: both say that they have no exclusive
    /// state, and they listen on the same addresses.
    pub fn overlaps(&self, next: &Self) -> bool {
        let addresses = |launch: &Self| {
            let mut all: Vec<_> = launch.listen.iter().map(|(_, address)| *address).collect();
            all.sort_unstable();
            all
        };
        self.overlap && next.overlap && addresses(self) == addresses(next)
    }

    /// The address of a socket.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.listen.iter().find(|(n, _)| n == name).map(|(_, address)| *address)
    }
}

impl Generation {
    /// What it writes and reads.
    pub fn schemas(&self) -> epochs::Version<'_> {
        epochs::Version { writes: &self.areas, reads: &self.launch.reads }
    }

    /// Reads generation `number`.
    ///
    /// # Errors
    /// It is missing or damaged.
    pub fn read(home: &Home, number: u64) -> Result<Self, GenerationError> {
        let path = home.generation(number).join("generation.json");
        let bytes = durable::read(&path, MAX_FILE)?.ok_or(GenerationError::Missing(number))?;
        serde_json::from_slice(&bytes).map_err(|source| GenerationError::Damaged { number, source })
    }

    /// The generation that `current` points to; `None` if nothing has been installed.
    ///
    /// # Errors
    /// `current` points elsewhere, or the generation is damaged.
    pub fn current(home: &Home) -> Result<Option<Self>, GenerationError> {
        current(home)?.map(|number| Self::read(home, number)).transpose()
    }

    /// The highest number in use; 0 if there is none. A damaged or unfinished generation keeps its number.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn last_number(home: &Home) -> Result<u64, GenerationError> {
        let path = home.generations();
        let entries = fs::read_dir(&path).map_err(|e| DiskError::new("read", &path, e))?;
        let mut last = 0;
        for entry in entries {
            let entry = entry.map_err(|e| DiskError::new("read", &path, e))?;
            last = last.max(entry.file_name().to_str().and_then(|n| n.parse().ok()).unwrap_or(0));
        }
        Ok(last)
    }

    /// Writes it, once and durably. Writing the same one again changes nothing.
    ///
    /// # Errors
    /// Another one has this number, or the disk fails.
    pub fn write(&self, home: &Home) -> Result<(), GenerationError> {
        match Self::read(home, self.number) {
            Ok(there) if there == *self => return Ok(()),
            Ok(_) => return Err(GenerationError::Exists(self.number)),
            Err(GenerationError::Missing(_)) => {}
            Err(error) => return Err(error),
        }
        let dir = home.generation(self.number);
        durable::make_dir(&dir)?;
        let bytes = serde_json::to_vec_pretty(self)
            .map_err(|source| GenerationError::Damaged { number: self.number, source })?;
        Ok(durable::write(&dir.join("generation.json"), &bytes)?)
    }

    /// Whether both are the same but for their number.
    pub fn is_like(&self, other: &Self) -> bool {
        Self { number: other.number, ..self.clone() } == *other
    }

    /// Whether `next` may be started beside this one, on the same data.
    pub fn overlaps(&self, next: &Self) -> bool {
        let same = |(area, schema)| self.areas.get(area).is_none_or(|mine| mine == schema);
        self.state == next.state
            && next.areas.iter().all(same)
            && self.launch.overlaps(&next.launch)
    }

    /// The unpacked release.
    pub fn tree(&self, home: &Home) -> PathBuf {
        home.stored(&self.binary).join("tree")
    }

    /// The data directory.
    pub fn state_dir(&self, home: &Home) -> PathBuf {
        home.state(self.state)
    }

    /// Program and arguments, with absolute paths.
    pub fn command(&self, home: &Home) -> Vec<String> {
        self.own_command(home, &self.launch.command)
    }

    /// The checkpoint command into directory `to`, if the release has one.
    pub fn checkpoint(&self, home: &Home, to: &std::path::Path) -> Option<Vec<String>> {
        let state = home.text(&self.state_dir(home));
        let to = home.text(to);
        let command = self.launch.checkpoint.as_ref()?;
        Some(self.absolute(home, command, &[("state", &state), ("to", &to)]))
    }

    /// The command that brings `area` of the data directory `state` from one schema to another.
    pub fn migration(
        &self,
        home: &Home,
        area: &Area,
        state: &std::path::Path,
        from: u32,
        to: u32,
    ) -> Option<Vec<String>> {
        let (state, from, to) = (home.text(state), from.to_string(), to.to_string());
        let command = self.launch.migrations.get(area)?;
        Some(self.absolute(home, command, &[("state", &state), ("from", &from), ("to", &to)]))
    }

    /// A command of the release beside those above, such as a check.
    pub fn own_command(&self, home: &Home, command: &[String]) -> Vec<String> {
        let state = home.text(&self.state_dir(home));
        self.absolute(home, command, &[("state", &state)])
    }

    /// A command of the operator's about this generation: its program is where it says.
    pub fn operators_command(&self, home: &Home, command: &[String]) -> Vec<String> {
        let state = home.text(&self.state_dir(home));
        node::fill(command, &[("state", &state)])
    }

    fn absolute(&self, home: &Home, command: &[String], values: &[(&str, &str)]) -> Vec<String> {
        let mut words = node::fill(command, values);
        if let Some(program) = words.first_mut() {
            *program = home.text(&self.tree(home).join(&*program));
        }
        words
    }
}

/// The number that `current` points to; `None` if nothing has been installed.
///
/// # Errors
/// It points elsewhere.
pub fn current(home: &Home) -> Result<Option<u64>, GenerationError> {
    let path = home.current();
    let target = match fs::read_link(&path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(DiskError::new("read", &path, error).into()),
    };
    let number = target
        .strip_prefix("generations")
        .ok()
        .and_then(|name| name.to_str()?.parse().ok())
        .ok_or(GenerationError::BadCurrent(path))?;
    Ok(Some(number))
}

/// The commit point of every swap: one rename of `current`, durable and read back.
///
/// # Errors
/// The generation is not there, or the disk fails; `current` is then as it was or as it should be.
pub fn switch_to(home: &Home, number: u64) -> Result<(), GenerationError> {
    Generation::read(home, number)?;
    durable::replace_link(&home.current(), &PathBuf::from(format!("generations/{number}")))?;
    match current(home)? {
        Some(now) if now == number => Ok(()),
        _ => Err(GenerationError::BadCurrent(home.current())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64) -> Generation {
        let node: NodeSpec = serde_json::from_value(serde_json::json!({
            "command": ["bin/n", "--state={state}"],
            "listen": { "http": "127.0.0.1:80", "p2p": "127.0.0.1:81" },
            "areas": { "values": { "schema": 2, "migrate": ["bin/n", "{from}", "{to}"] } },
        }))
        .unwrap();
        let moved = BTreeMap::from([("p2p".to_owned(), "127.0.0.1:9".parse().unwrap())]);
        Generation {
            number,
            product: "p".parse().unwrap(),
            version: "1.0.0".parse().unwrap(),
            binary: Sha256::of(b"tar"),
            state: 1,
            areas: BTreeMap::from([("values".parse().unwrap(), 2)]),
            held: Others::new(),
            protocol: None,
            launch: Launch::new(&node, &moved),
        }
    }

    #[test]
    fn current_points_to_what_was_switched_to_and_nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(dir.path()).unwrap();
        assert!(Generation::current(&home).unwrap().is_none());
        assert!(matches!(switch_to(&home, 1), Err(GenerationError::Missing(1))));
        let one = generation(1);
        one.write(&home).unwrap();
        one.write(&home).unwrap();
        let other = Generation { state: 2, ..one.clone() };
        assert!(matches!(other.write(&home), Err(GenerationError::Exists(1))));
        switch_to(&home, 1).unwrap();
        assert_eq!(Generation::current(&home).unwrap().unwrap(), one);
        assert_eq!(Generation::last_number(&home).unwrap(), 1);
        let words = one.command(&home);
        assert!(words[0].starts_with('/') && words[0].ends_with("/tree/bin/n"));
        assert_eq!(words[1], format!("--state={}/state/1", home.path().display()));
        assert_eq!(one.launch.address("p2p").unwrap().port(), 9);
        let area = "values".parse().unwrap();
        let migration = one.migration(&home, &area, &home.state(1), 1, 2).unwrap();
        assert_eq!(migration[1..], ["1", "2"]);
    }
}
