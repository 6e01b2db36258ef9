//! The two steps before a validated configuration: what was written, and what the defaults add.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use countersign_metadata::Platform;
use countersign_metadata::node::{Check, check_all};
use countersign_metadata::release::Urgency;
use countersign_metadata::sigstore::{self, Signer};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::backup::WrittenBackup;
use super::layers::Layers;
use super::limits::WrittenLimits;
use super::{
    Config, ConfigError, Fetch, Mode, Open, Policy, Probation, Rebuilt, Shadow, ShadowState, Swap,
    Updater, units,
};
use crate::supervise::{BadShare, Share};

/// The texts and their names: what turns a place into a file and a line number.
pub(super) struct Source<'a> {
    pub(super) layers: &'a Layers,
}

/// As written: nothing but the shape is known to be right.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Written {
    product: Option<Spanned<String>>,
    platform: Option<Spanned<String>>,
    repositories: Option<Vec<Spanned<String>>>,
    check_every: Option<Spanned<String>>,
    delay: Option<Spanned<String>>,
    urgent_floor: Option<Spanned<String>>,
    mode: Option<Spanned<String>>,
    attempts: Option<Spanned<u32>>,
    free_space: Option<Spanned<String>>,
    listen: BTreeMap<String, Spanned<String>>,
    fetch: WrittenFetch,
    policy: WrittenPolicy,
    shadow: WrittenShadow,
    swap: WrittenSwap,
    probation: WrittenProbation,
    status: WrittenStatus,
    serve: WrittenServe,
    updater: Option<WrittenUpdater>,
    backup: WrittenBackup,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenStatus {
    listen: Option<Spanned<String>>,
    public: bool,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenServe {
    keep: u32,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenFetch {
    rate: Option<Spanned<String>>,
    proxy: Option<Spanned<String>>,
    deltas: Option<Spanned<bool>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenUpdater {
    product: Option<Spanned<String>>,
    repositories: Option<Vec<Spanned<String>>>,
    root: Option<Spanned<String>>,
    delay: Option<Spanned<String>>,
    policy: WrittenPolicy,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenPolicy {
    allow_prerelease: bool,
    reproducers: Option<usize>,
    rebuilt: Rebuilt,
    rebuilders: Vec<Spanned<String>>,
    identities: Vec<WrittenIdentity>,
    skip: Vec<Spanned<String>>,
    pin: Option<Spanned<String>>,
    min_age: Option<Spanned<String>>,
    urgency: Option<Spanned<String>>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenIdentity {
    label: String,
    identity: Spanned<String>,
    issuer: String,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenShadow {
    r#for: Option<Spanned<String>>,
    ready: Option<Spanned<String>>,
    migrate: Option<Spanned<String>>,
    allow: Vec<Spanned<String>>,
    memory: Option<Spanned<String>>,
    processes: Option<Spanned<u64>>,
    state: Option<Spanned<String>>,
    lower: Vec<Spanned<String>>,
    first_bytes: Option<Spanned<String>>,
    compare: Option<Spanned<bool>>,
    limits: WrittenLimits,
    mirror: Option<Spanned<String>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenSwap {
    snapshots: Option<Spanned<u32>>,
    snapshot_age: Option<Spanned<String>>,
    open: Option<Spanned<String>>,
    lease: Option<Spanned<String>>,
    lease_for: Option<Spanned<String>>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenProbation {
    r#for: Option<Spanned<String>>,
    crashes: Option<Spanned<u32>>,
    checks: BTreeMap<String, Spanned<Check>>,
}

/// Every setting has a value, still as text where people write text; a default carries an empty place. A field is named as its
/// key, with `_` for `.` and `-`: so its default is found by `countersign-updater config`.
#[derive(Serialize)]
pub(super) struct Merged {
    product: Spanned<String>,
    platform: Spanned<String>,
    repositories: Vec<Spanned<String>>,
    check_every: Spanned<String>,
    delay: Spanned<String>,
    urgent_floor: Option<Spanned<String>>,
    mode: Spanned<String>,
    attempts: Spanned<u32>,
    free_space: Spanned<String>,
    listen: BTreeMap<String, Spanned<String>>,
    fetch_rate: Spanned<String>,
    fetch_proxy: Spanned<String>,
    fetch_deltas: Spanned<bool>,
    policy: WrittenPolicy,
    shadow_for: Spanned<String>,
    shadow_ready: Spanned<String>,
    shadow_migrate: Spanned<String>,
    shadow_allow: Vec<Spanned<String>>,
    shadow_memory: Spanned<String>,
    shadow_processes: Spanned<u64>,
    shadow_state: Spanned<String>,
    shadow_lower: Vec<Spanned<String>>,
    shadow_first_bytes: Spanned<String>,
    shadow_compare: Spanned<bool>,
    shadow_limits: WrittenLimits,
    shadow_mirror: Spanned<String>,
    swap_snapshots: Spanned<u32>,
    swap_snapshot_age: Spanned<String>,
    swap_open: Spanned<String>,
    swap_lease: Option<Spanned<String>>,
    swap_lease_for: Spanned<String>,
    probation_for: Spanned<String>,
    probation_crashes: Spanned<u32>,
    status: WrittenStatus,
    serve: WrittenServe,
    probation_checks: BTreeMap<String, Spanned<Check>>,
    updater: Option<WrittenUpdater>,
    backup: WrittenBackup,
}

pub(super) fn or<T>(written: Option<Spanned<T>>, default: impl Into<T>) -> Spanned<T> {
    written.unwrap_or_else(|| Spanned::new(0..0, default.into()))
}

impl Source<'_> {
    /// What was written, merged.
    pub(super) fn table(&self) -> Result<DeTable<'_>, ConfigError> {
        self.layers.merged().map_err(|(place, reason)| self.line(place..place, reason))
    }

    pub(super) fn parse(&self) -> Result<Written, ConfigError> {
        let table = Spanned::new(0..0, self.table()?);
        Written::deserialize(Deserializer::from(table)).map_err(|error| {
            self.line(error.span().unwrap_or(0..0), error.message().trim().to_owned())
        })
    }

    pub(super) fn line(&self, place: Range<usize>, reason: String) -> ConfigError {
        let (file, line) = self.layers.line(place.start);
        ConfigError::Line { file, line, reason }
    }

    pub(super) fn missing(&self, key: &'static str) -> ConfigError {
        ConfigError::Missing { file: self.layers.main(), key }
    }

    /// Reads one value; an error names the key and the line.
    pub(super) fn read<T, E: Display>(
        &self,
        key: &str,
        value: &Spanned<String>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        read(value.get_ref()).map_err(|e| self.line(value.span(), format!("{key}: {e}")))
    }

    pub(super) fn one_or_more(&self, key: &str, value: &Spanned<u32>) -> Result<u32, ConfigError> {
        match value.get_ref() {
            0 => Err(self.line(value.span(), format!("{key}: begins at 1"))),
            n => Ok(*n),
        }
    }

    pub(super) fn text<T: FromStr>(
        &self,
        key: &str,
        value: &Spanned<String>,
    ) -> Result<T, ConfigError>
    where
        T::Err: Display,
    {
        self.read(key, value, |text| text.parse())
    }

    fn list<T: FromStr, C: FromIterator<T>>(
        &self,
        key: &str,
        values: &[Spanned<String>],
    ) -> Result<C, ConfigError>
    where
        T::Err: Display,
    {
        values.iter().map(|value| self.text(key, value)).collect()
    }
}

impl Written {
    pub(super) fn merge(self, source: &Source<'_>) -> Result<Merged, ConfigError> {
        Ok(Merged {
            product: self.product.ok_or_else(|| source.missing("product"))?,
            platform: or(self.platform, Platform::here().as_str()),
            repositories: self.repositories.unwrap_or_default(),
            check_every: or(self.check_every, "10m"),
            delay: or(self.delay, "0s..24h"),
            urgent_floor: self.urgent_floor,
            mode: or(self.mode, "automatic"),
            attempts: or(self.attempts, 3u32),
            free_space: or(self.free_space, "64MiB"),
            listen: self.listen,
            fetch_rate: or(self.fetch.rate, "none"),
            fetch_proxy: or(self.fetch.proxy, "environment"),
            fetch_deltas: or(self.fetch.deltas, true),
            policy: WrittenPolicy {
                min_age: Some(or(self.policy.min_age, "0s")),
                urgency: Some(or(self.policy.urgency, "low")),
                ..self.policy
            },
            shadow_for: or(self.shadow.r#for, "10s"),
            shadow_ready: or(self.shadow.ready, "60s"),
            shadow_migrate: or(self.shadow.migrate, "1h"),
            shadow_allow: self.shadow.allow,
            shadow_memory: or(self.shadow.memory, "2GiB"),
            shadow_processes: or(self.shadow.processes, 512u64),
            shadow_state: or(self.shadow.state, "overlay"),
            shadow_lower: self.shadow.lower,
            shadow_first_bytes: or(self.shadow.first_bytes, "0B"),
            shadow_compare: or(self.shadow.compare, true),
            shadow_limits: self.shadow.limits.merge(),
            shadow_mirror: or(self.shadow.mirror, "none"),
            swap_snapshots: or(self.swap.snapshots, 3u32),
            swap_snapshot_age: or(self.swap.snapshot_age, "90d"),
            swap_open: or(self.swap.open, "migrating"),
            swap_lease: self.swap.lease,
            swap_lease_for: or(self.swap.lease_for, "5m"),
            probation_for: or(self.probation.r#for, "5m"),
            probation_crashes: or(self.probation.crashes, 3u32),
            status: self.status,
            serve: self.serve,
            probation_checks: self.probation.checks,
            updater: self.updater,
            backup: self.backup.merge(),
        })
    }
}

impl Merged {
    pub(super) fn validate(self, source: &Source<'_>) -> Result<Config, ConfigError> {
        if self.repositories.is_empty() {
            return Err(source.missing("repositories"));
        }
        let duration = |key, value| source.read(key, value, units::duration);
        let listen = self.listen.iter().map(|(name, address)| {
            let address = source.text(&format!("listen.{name}"), address)?;
            Ok((name.clone(), address))
        });
        let allow =
            self.shadow_allow.iter().map(|value| source.read("shadow.allow", value, target));
        Ok(Config {
            product: source.text("product", &self.product)?,
            platform: source.text("platform", &self.platform)?,
            repositories: source.list("repositories", &self.repositories)?,
            check_every: duration("check-every", &self.check_every)?,
            delay: source.text("delay", &self.delay)?,
            urgent_floor: self
                .urgent_floor
                .as_ref()
                .map(|value| duration("urgent-floor", value))
                .transpose()?,
            mode: source.read("mode", &self.mode, mode)?,
            attempts: source.one_or_more("attempts", &self.attempts)?,
            free_space: source.read("free-space", &self.free_space, units::size)?,
            listen: listen.collect::<Result<_, ConfigError>>()?,
            fetch: Fetch {
                rate: source.read("fetch.rate", &self.fetch_rate, rate)?,
                proxy: source.text("fetch.proxy", &self.fetch_proxy)?,
                deltas: *self.fetch_deltas.get_ref(),
            },
            policy: self.policy.validate("policy", source)?,
            shadow: Shadow {
                window: duration("shadow.for", &self.shadow_for)?,
                ready: duration("shadow.ready", &self.shadow_ready)?,
                migrate: duration("shadow.migrate", &self.shadow_migrate)?,
                allow: allow.collect::<Result<_, ConfigError>>()?,
                memory: source.read("shadow.memory", &self.shadow_memory, memory)?,
                processes: *self.shadow_processes.get_ref(),
                state: source.read("shadow.state", &self.shadow_state, state)?,
                lower: source.list("shadow.lower", &self.shadow_lower)?,
                first_bytes: source.read(
                    "shadow.first-bytes",
                    &self.shadow_first_bytes,
                    first_bytes,
                )?,
                compare: *self.shadow_compare.get_ref(),
                limits: self.shadow_limits.validate(source)?,
                mirror: source.read("shadow.mirror", &self.shadow_mirror, share)?,
            },
            swap: Swap {
                snapshots: source.one_or_more("swap.snapshots", &self.swap_snapshots)?,
                snapshot_age: source.read("swap.snapshot-age", &self.swap_snapshot_age, age)?,
                open: source.read("swap.open", &self.swap_open, open)?,
                lease: self
                    .swap_lease
                    .as_ref()
                    .map(|value| source.read("swap.lease", value, absolute))
                    .transpose()?,
                lease_for: source.read("swap.lease-for", &self.swap_lease_for, lease_time)?,
            },
            probation: Probation {
                window: duration("probation.for", &self.probation_for)?,
                crashes: source.one_or_more("probation.crashes", &self.probation_crashes)?,
                checks: checks(source, &self.probation_checks)?,
            },
            status: self.status.validate(source)?,
            keep_artifacts: self.serve.keep,
            updater: self.updater(source)?,
            backup: self.backup.validate(source)?,
        })
    }
}

/// One after the other, so that the line of the one that cannot be used is told.
fn identities(
    source: &Source<'_>,
    section: &str,
    written: &[WrittenIdentity],
) -> Result<Vec<Signer>, ConfigError> {
    let mut signers = Vec::new();
    for WrittenIdentity { label, identity, issuer } in written {
        let place = identity.span();
        let (label, issuer) = (label.clone(), issuer.clone());
        signers.push(Signer { label, identity: identity.get_ref().clone(), issuer });
        if let Err(error) = sigstore::Policy::new(signers.clone()) {
            return Err(source.line(place, format!("{section}.identities: {error}")));
        }
    }
    Ok(signers)
}

impl WrittenStatus {
    /// What a node says about itself is nobody else's business, unless the operator says so.
    fn validate(&self, source: &Source<'_>) -> Result<Option<SocketAddr>, ConfigError> {
        let Some(written) = &self.listen else { return Ok(None) };
        let address: SocketAddr = source.text("status.listen", written)?;
        if address.ip().is_loopback() || self.public {
            return Ok(Some(address));
        }
        let reason =
            "status.listen: other machines could ask here; say `public = true` if they may";
        Err(source.line(written.span(), reason.to_owned()))
    }
}

impl WrittenPolicy {
    fn validate(&self, section: &str, source: &Source<'_>) -> Result<Policy, ConfigError> {
        Ok(Policy {
            allow_prerelease: self.allow_prerelease,
            reproducers: self.reproducers,
            rebuilt: self.rebuilt,
            rebuilders: source.list(&format!("{section}.rebuilders"), &self.rebuilders)?,
            identities: identities(source, section, &self.identities)?,
            skip: source.list(&format!("{section}.skip"), &self.skip)?,
            pin: self
                .pin
                .as_ref()
                .map(|value| source.text(&format!("{section}.pin"), value))
                .transpose()?,
            min_age: source.read(
                &format!("{section}.min-age"),
                &or(self.min_age.clone(), "0s"),
                units::duration,
            )?,
            urgency: source.read(
                &format!("{section}.urgency"),
                &or(self.urgency.clone(), "low"),
                urgency,
            )?,
        })
    }
}

impl Merged {
    fn updater(&self, source: &Source<'_>) -> Result<Option<Updater>, ConfigError> {
        let Some(written) = &self.updater else { return Ok(None) };
        let product = or(written.product.clone(), "countersign");
        let repositories = written.repositories.as_ref().unwrap_or(&self.repositories);
        let root = written.root.as_ref();
        Ok(Some(Updater {
            product: source.text("updater.product", &product)?,
            repositories: source.list("updater.repositories", repositories)?,
            root: root.map(|root| source.read("updater.root", root, absolute)).transpose()?,
            delay: source.text("updater.delay", written.delay.as_ref().unwrap_or(&self.delay))?,
            policy: written.policy.validate("updater.policy", source)?,
        }))
    }
}

/// Whether a release has the sockets that are asked is known when there is a release: its policy says so.
fn checks(
    source: &Source<'_>,
    written: &BTreeMap<String, Spanned<Check>>,
) -> Result<BTreeMap<String, Check>, ConfigError> {
    let one = |(name, check): (&String, &Spanned<Check>)| {
        let alone = BTreeMap::from([(name.clone(), check.get_ref().clone())]);
        let wrong = |reason: String| {
            source.line(check.span(), format!("probation.checks.{name}: {reason}"))
        };
        if let Some(program) = check.get_ref().program()
            && !program.starts_with('/')
        {
            return Err(wrong(format!("{program:?} is not an absolute path")));
        }
        check_all(&alone, |_| true, |_, _| Ok(())).map_err(|error| wrong(error.to_string()))?;
        Ok((name.clone(), check.get_ref().clone()))
    };
    written.iter().map(one).collect()
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("{text:?} is not an absolute path")) }
}

fn age(text: &str) -> Result<Option<Duration>, units::BadUnit> {
    if text == "never" { Ok(None) } else { units::duration(text).map(Some) }
}

fn state(text: &str) -> Result<ShadowState, String> {
    match text {
        "overlay" => Ok(ShadowState::Overlay),
        "copy" => Ok(ShadowState::Copy),
        _ => Err(format!("{text:?} is neither overlay nor copy")),
    }
}

fn open(text: &str) -> Result<Open, String> {
    match text {
        "migrating" => Ok(Open::Migrating),
        "always" => Ok(Open::Always),
        "ahead" => Ok(Open::Ahead),
        "never" => Ok(Open::Never),
        _ => Err(format!("{text:?} is none of migrating, always, ahead and never")),
    }
}

/// The keeper renews it every few seconds: a shorter one would be lost by whoever holds it.
fn lease_time(text: &str) -> Result<Duration, String> {
    let time = units::duration(text).map_err(|error| error.to_string())?;
    match time >= Duration::from_secs(1) {
        true => Ok(time),
        false => Err("a lease lasts a second or longer".to_owned()),
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "automatic" => Ok(Mode::Automatic),
        "on-restart" => Ok(Mode::OnRestart),
        "manual" => Ok(Mode::Manual),
        _ => Err(format!("{text:?} is none of \"automatic\", \"on-restart\" and \"manual\"")),
    }
}

fn urgency(text: &str) -> Result<Urgency, String> {
    match text {
        "low" => Ok(Urgency::Low),
        "normal" => Ok(Urgency::Normal),
        "urgent" => Ok(Urgency::Urgent),
        _ => Err(format!("{text:?} is none of \"low\", \"normal\" and \"urgent\"")),
    }
}

fn rate(text: &str) -> Result<Option<u64>, units::BadUnit> {
    if text == "none" { Ok(None) } else { units::rate(text).map(Some) }
}

/// `none` is how an operator lowers this one protection, by name.
fn memory(text: &str) -> Result<Option<u64>, units::BadUnit> {
    if text == "none" { Ok(None) } else { units::size(text).map(Some) }
}

/// Nothing stands before a live node unless its operator says so.
fn share(text: &str) -> Result<Option<Share>, BadShare> {
    if text == "none" { Ok(None) } else { text.parse().map(Some) }
}

fn target(text: &str) -> Result<String, String> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let good = good || crate::shadow::is_other(text);
    if good { Ok(text.to_owned()) } else { Err(format!("{text:?} is not HOST:PORT")) }
}

/// A report is read by people, and holds 512 attempts.
fn first_bytes(text: &str) -> Result<usize, String> {
    let most = units::size(text).map_err(|error| error.to_string())?;
    match usize::try_from(most) {
        Ok(most @ 0..=4096) => Ok(most),
        _ => Err(format!("{text} is more than 4KiB")),
    }
}
