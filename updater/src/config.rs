//! `countersign-updater.toml` and its drop-ins: what was written, what was merged with the defaults, what was validated.
//!
//! ```toml
//! product = "examplenode"
//! repositories = ["https://releases.example.org/", "file:///media/usb/releases"]
//! delay = "0s..24h"            # the hold-off is drawn from this window
//! check-every = "10m"
//! urgent-floor = "1h"          # an urgent release may wait no longer than this; by default it waits like any other
//! mode = "automatic"           # "on-restart": with the node's next restart; "manual": `countersign-updater apply` decides
//!
//! [listen]
//! http = "127.0.0.1:9000"      # moves a socket of the release to another address
//!
//! [fetch]
//! rate = "none"                # what a download may take of the line, such as "2MiB/s"
//! proxy = "environment"        # HTTP_PROXY, HTTPS_PROXY and NO_PROXY; or "http://proxy:3128", or "none"
//! deltas = true                # fetch the difference to a stored release where one is published
//!
//! [policy]
//! allow-prerelease = false
//! reproducers = 2              # rebuilders whose own build must have given the same bytes; by default more than half
//!                              # of those who count where `rebuilders` names any, else 0
//! rebuilders = []              # their keys (RW…); the keyholders who signed always count
//! rebuilt = false              # true: as many keyholders as the threshold rebuilt what they signed; or how many
//! skip = []                    # versions that this node never takes
//! pin = "1.2.*"                # stay in this series, or at one version; by default nothing is pinned
//! min-age = "0s"               # how long this node must have known a release
//! urgency = "low"              # the least pressing release that is taken: "low", "normal" or "urgent"
//!
//! [[policy.identities]]        # rebuilders without a key (Sigstore), each by its exact names
//! label = "Alice's rebuilder"
//! identity = "https://ci.example/alice/rebuild.yml@refs/heads/main"
//! issuer = "https://token.ci.example"
//!
//! [shadow]
//! for = "10s"
//! ready = "60s"
//! allow = []                   # HOST:PORT that a shadow may try to reach, beside what the release declares
//! migrate = "1h"               # how long one migration of the copied state may take
//! memory = "2GiB"              # "none" lowers this one protection, where no cgroup can be had
//! processes = 512
//! mirror = "none"              # "10%": so many new connections go through a tee, which asks the shadow what they ask; the
//!                              # node sees these come from 127.84.69.0/24
//! state = "overlay"            # above a snapshot; "copy" where a node stumbles over what overlays do otherwise
//! lower = []                   # what a shadow may go without: "memory limit", "landlock", "programs"
//! first-bytes = "0B"           # kept of what is to be sent first, to each destination; connections are taken for that
//! compare = true               # the version that runs is run beside it, with the same limits, on the same state
//!
//! [shadow.limits]              # how much more than that one it may take; all of them in `config/limits.rs`
//! memory = "1.5x+16MiB"        # refused above 1.5 times the old version's plus 16 MiB; or "off"
//!
//! [swap]
//! snapshots = 3                # how many are kept
//! snapshot-age = "90d"         # and for how long at most, but for the newest; "never" goes by number alone
//! open = "migrating"           # which snapshots the old version opens while it is stopped: also "always", "ahead", "never"
//! lease = "/run/lease.json"    # shared by nodes of this host that may not swap at once; by default the node's own
//! lease-for = "5m"             # a holder that died blocks the others for so long
//!
//! [probation]
//! for = "5m"
//! crashes = 3
//!
//! [status]
//! listen = "127.0.0.1:9120"    # where the agent shows how things are; nowhere by default
//! public = false               # true: an address that other machines reach is meant
//!
//! [serve]
//! keep = 0                     # artifacts kept as downloaded, for `countersign-updater serve`
//!
//! [updater]                    # without this section the updater itself is never changed
//! product = "countersign"
//! repositories = []            # by default the node's
//! root = "/etc/countersign/updater-root.json"    # by default the node's
//! delay = "0s..24h"            # by default the node's
//!
//! [updater.policy]             # as [policy], of which nothing counts here
//! reproducers = 0
//!
//! [probation.checks]           # beside those of the release; of two with one name, this one counts
//! synced = { kind = "command", command = ["/usr/local/bin/is-synced", "{state}"] }
//!
//! [backup]                     # none without it; more in `config/backup.rs`
//! to = "/mnt/backup/node-a"
//! password-file = "/etc/countersign/backup.password"
//! ```

pub mod backup;
mod layers;
pub mod limits;
mod pin;
mod policy;
mod settings;
mod shadow;
mod swap;
mod units;
mod written;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use countersign_metadata::node::Check;
use countersign_metadata::{Platform, Product};

pub use backup::Backup;
pub use limits::{Limit, Limits};
pub use pin::{BadPin, Pin};
pub use policy::{Policy, Rebuilt};
pub use settings::{Place, Setting, settings};
pub use shadow::{Shadow, ShadowState};
pub use swap::{Open, Swap};
pub use units::{BadUnit, Window, duration, duration_text, rate, size};

use crate::Home;
use crate::durable::DiskError;
use crate::net::{Proxy, Repository};
use layers::Layers;

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What runs here.
    pub product: Product,
    /// Where it runs; this machine's by default.
    pub platform: Platform,
    /// Mirrors of the repository, asked in this order.
    pub repositories: Vec<Repository>,
    /// How often the repository is asked.
    pub check_every: Duration,
    /// The hold-off is drawn uniformly from this window.
    pub delay: Window,
    /// The hold-off of an urgent release may be this short; `None`: it is as long as any other.
    pub urgent_floor: Option<Duration>,
    /// Who decides when.
    pub mode: Mode,
    /// How often one release is tried before it is left alone; from 1.
    pub attempts: u32,
    /// Bytes that an update must leave free on the disk.
    pub free_space: u64,
    /// Listening addresses by socket name, instead of the release's own.
    pub listen: BTreeMap<String, SocketAddr>,
    /// How artifacts come here.
    pub fetch: Fetch,
    /// Which releases this node takes.
    pub policy: Policy,
    /// How a release is tried.
    pub shadow: Shadow,
    /// How a release is swapped in.
    pub swap: Swap,
    /// How a release is watched after the swap.
    pub probation: Probation,
    /// Where encrypted copies of snapshots go; `None`: nowhere.
    pub backup: Option<Backup>,
    /// Where the agent shows how things are; `None`: nowhere.
    pub status: Option<SocketAddr>,
    /// How many artifacts are kept as they were downloaded, for other nodes.
    pub keep_artifacts: u32,
    /// How the updater itself is updated; `None`: it is not.
    pub updater: Option<Updater>,
}

/// How the updater itself is updated.
#[derive(Clone, Debug)]
pub struct Updater {
    /// Its product.
    pub product: Product,
    /// Mirrors of its repository.
    pub repositories: Vec<Repository>,
    /// Its root; `None`: the node's.
    pub root: Option<PathBuf>,
    /// The hold-off is drawn uniformly from this window.
    pub delay: Window,
    /// Which of its releases are taken.
    pub policy: Policy,
}

/// Who decides when a release is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The hold-off does.
    Automatic,
    /// The hold-off does, and then the next restart of the node.
    OnRestart,
    /// A person does, by `countersign-updater apply`.
    Manual,
}

/// How artifacts come here.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Bytes a second that a download may take; `None`: what the line gives.
    pub rate: Option<u64>,
    /// The way to mirrors that are not on this machine.
    pub proxy: Proxy,
    /// Whether the difference to a stored release is fetched where one is published.
    pub deltas: bool,
}

/// How a release is watched after the swap.
#[derive(Clone, Debug)]
pub struct Probation {
    /// How long.
    pub window: Duration,
    /// At this many crashes it is rolled back; from 1.
    pub crashes: u32,
    /// What it is asked beside what its release says; the programs of commands are this machine's.
    pub checks: BTreeMap<String, Check>,
}

/// A configuration that cannot be used, with the place to look at.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not UTF-8.
    #[error("{0} is not UTF-8 text")]
    NotText(PathBuf),
    /// A line is wrong.
    #[error("{}:{line}: {reason}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A key without a default is not there.
    #[error("{}: {key} is missing", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
    },
}

impl Config {
    /// Reads and validates a node's configuration, drop-ins and all.
    ///
    /// # Errors
    /// It is not there, or a line of it cannot be used; the error names the line.
    pub fn load(home: &Home) -> Result<Self, ConfigError> {
        Self::from_layers(&Layers::read(home)?)
    }

    /// Validates the text of a configuration; `file` is its name in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_text(text: &str, file: PathBuf) -> Result<Self, ConfigError> {
        Self::from_layers(&Layers::one(text, file))
    }

    fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let source = written::Source { layers };
        source.parse()?.merge(&source)?.validate(&source)
    }
}

#[cfg(test)]
mod tests {
    use countersign_metadata::PublicKey;

    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::from_text(text, PathBuf::from("n.toml"))
    }

    #[test]
    fn two_lines_are_a_configuration() {
        let config = parse("product = \"p\"\nrepositories = [\"http://127.0.0.1:8000\"]").unwrap();
        assert_eq!(config.mode, Mode::Automatic);
        assert_eq!(config.delay.max, Duration::from_hours(24));
        assert_eq!(config.platform, Platform::here());
        assert_eq!((config.fetch.rate, config.fetch.deltas), (None, true));
        assert_eq!((config.status, config.keep_artifacts), (None, 0));
    }

    #[test]
    fn a_roster_asks_for_its_majority_and_less_than_that_is_said() {
        let policy = |more: &str| {
            let text = format!("product = \"p\"\nrepositories = [\"file:///r\"]\n[policy]\n{more}");
            parse(&text).unwrap().policy
        };
        assert_eq!(policy("").needed(3), 0);
        let key = |n: u8| format!("\"{}\"", PublicKey::from_parts([n; 8], [n; 32]));
        let roster = format!("rebuilders = [{}, {}, {}]\n", key(1), key(2), key(3));
        let majority = policy(&roster);
        assert_eq!([3, 4, 5].map(|counting| majority.needed(counting)), [2, 3, 3]);
        assert!(majority.warnings().is_empty());
        let low = policy(&format!("{roster}reproducers = 1"));
        assert_eq!(low.needed(5), 1);
        assert!(low.warnings()[0].contains("2 is a majority"), "{:?}", low.warnings());
        assert!(policy("reproducers = 1").warnings().is_empty(), "the keyholders are enough");
    }

    #[test]
    fn every_error_names_file_and_line() {
        let head = "product = \"p\"\nrepositories = [\"file:///r\"]\n";
        for (tail, wanted) in [
            ("delay = \"5s..2s\"", "n.toml:3: delay"),
            ("\nmode = \"sometimes\"", "n.toml:4: mode"),
            ("colour = 1", "n.toml:3: "),
            ("[probation]\ncrashes = 0", "n.toml:4: probation.crashes"),
            ("[listen]\nhttp = \"localhost\"", "n.toml:4: listen.http"),
            ("[shadow]\nallow = [\"example.org\"]", "n.toml:4: shadow.allow"),
            (
                "[shadow]\nlower = [\"seccomp\"]",
                "n.toml:4: shadow.lower: \"seccomp\" is never lowered",
            ),
            (
                "[shadow]\nlower = [\"all\"]",
                "n.toml:4: shadow.lower: no protection is called \"all\"",
            ),
            ("[shadow]\nfirst-bytes = \"5KiB\"", "n.toml:4: shadow.first-bytes"),
            ("attempts = \"three\"", "n.toml:3: "),
            ("[swap]\nlease = \"lease.json\"", "n.toml:4: swap.lease"),
            ("[fetch]\nrate = \"2MiB\"", "n.toml:4: fetch.rate"),
            ("[fetch]\nrate = \"0/s\"", "n.toml:4: fetch.rate"),
            ("[fetch]\nproxy = \"proxy\"", "n.toml:4: fetch.proxy"),
            ("[fetch]\nproxy = \"http://me:pw@proxy/\"", "n.toml:4: fetch.proxy"),
            ("[swap]\nsnapshots = 0", "n.toml:4: swap.snapshots"),
            ("[swap]\nsnapshot-age = \"old\"", "n.toml:4: swap.snapshot-age"),
            ("[swap]\nopen = \"sometimes\"", "n.toml:4: swap.open"),
            (
                "[[policy.identities]]\nlabel = \"a\"\nidentity = \"\"\nissuer = \"i\"",
                "n.toml:5: policy.identities",
            ),
            ("[status]\nlisten = \"0.0.0.0:9120\"", "n.toml:4: status.listen"),
            ("urgent-floor = \"soon\"", "n.toml:3: urgent-floor"),
            ("[policy]\npin = \"1.2\"", "n.toml:4: policy.pin"),
            ("[policy]\nmin-age = \"3 days\"", "n.toml:4: policy.min-age"),
            ("[policy]\nurgency = \"high\"", "n.toml:4: policy.urgency"),
            ("[swap]\nlease-for = \"0s\"", "n.toml:4: swap.lease-for"),
            (
                "[probation.checks]\na = { kind = \"command\", command = [\"bin/x\"] }",
                "n.toml:4: probation.checks.a",
            ),
            (
                "[probation.checks]\na = { kind = \"log\", line = \"(\", within = 5 }",
                "n.toml:4: probation.checks.a",
            ),
            ("[probation.checks]\na = { kind = \"mood\" }", "n.toml:4: "),
        ] {
            let error = parse(&format!("{head}{tail}")).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
        let error = parse("product = \"p\"").unwrap_err().to_string();
        assert_eq!(error, "n.toml: repositories is missing");
        let error = parse("product = \"p\"\nrepositories = [\n \"gopher://x\"]").unwrap_err();
        assert!(error.to_string().starts_with("n.toml:3: repositories"), "{error}");
    }

    /// A node with this configuration and these drop-ins.
    fn node(main: &str, drop_ins: &[(&str, &str)]) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("node")).unwrap();
        home.finish(main).unwrap();
        std::fs::create_dir(home.config_drop_ins()).unwrap();
        for (name, text) in drop_ins {
            std::fs::write(home.config_drop_ins().join(name), text).unwrap();
        }
        (dir, home)
    }

    const MAIN: &str = "product = \"p\"\nrepositories = [\"file:///a\", \"file:///b\"]\n\
                        delay = \"1s..2s\"\n[probation]\nfor = \"5s\"\ncrashes = 7\n";

    #[test]
    fn drop_ins_replace_key_by_key_in_the_order_of_their_names() {
        let (_dir, home) = node(
            MAIN,
            &[
                ("20-last.toml", "delay = \"9s..9s\"\nrepositories = [\"file:///c\"]"),
                ("10-first.toml", "delay = \"3s..4s\"\n[probation]\nfor = \"6s\"\n"),
                (".30-hidden.toml", "delay = \"never\""),
                ("40-backup.toml~", "delay = \"never\""),
            ],
        );
        let config = Config::load(&home).unwrap();
        assert_eq!(config.delay.to_string(), "9s..9s");
        assert_eq!(config.repositories.len(), 1, "a list is replaced as a whole");
        assert_eq!(config.probation.window, Duration::from_secs(6));
        assert_eq!(config.probation.crashes, 7, "what a drop-in does not name stays");
        let (files, settings) = settings(&home).unwrap();
        assert_eq!(files.len(), 3);
        let from = |key: &str| {
            let place = settings.iter().find(|s| s.key == key).unwrap().from.clone()?;
            Some((place.file.file_name()?.to_str()?.to_owned(), place.line))
        };
        assert_eq!(from("delay").unwrap(), ("20-last.toml".to_owned(), 1));
        assert_eq!(from("repositories").unwrap(), ("20-last.toml".to_owned(), 2));
        assert_eq!(from("probation.for").unwrap(), ("10-first.toml".to_owned(), 3));
        assert_eq!(from("probation.crashes").unwrap(), ("countersign-updater.toml".to_owned(), 6));
        assert_eq!(from("attempts"), None);
    }

    #[test]
    fn an_error_names_the_file_that_it_is_in() {
        for (text, wanted) in [
            ("\ndelay = \"5s..2s\"", "20-b.toml:2: delay: "),
            ("colour = 1", "20-b.toml:1: unknown field `colour`"),
            ("[probation]\n\ncolour = 1", "20-b.toml:3: unknown field `colour`"),
            ("probation = 3", "20-b.toml:1: "),
            ("a = [\n", "20-b.toml:1: "),
            ("[policy]\nskip = [\n\"x\"]", "20-b.toml:3: policy.skip: "),
        ] {
            let (_dir, home) = node(MAIN, &[("10-a.toml", "attempts = 5"), ("20-b.toml", text)]);
            let error = Config::load(&home).unwrap_err().to_string();
            let found = error.rsplit_once('/').unwrap().1;
            assert!(found.starts_with(wanted), "{text:?}: {error}");
        }
        // What a later file replaces is looked at no more; what it leaves is.
        let (_dir, home) =
            node(&format!("attempts = 0\n{MAIN}"), &[("a.toml", "mode = \"manual\"")]);
        let error = Config::load(&home).unwrap_err().to_string();
        assert!(error.contains("countersign-updater.toml:1: attempts: begins at 1"), "{error}");
    }
}
