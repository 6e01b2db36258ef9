//! The two steps before a validated configuration: what was written, and what the defaults add.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use countersign_metadata::Platform;
use countersign_metadata::node::{Check, check_all};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::backup::WrittenBackup;
use super::layers::Layers;
use super::policy::WrittenPolicy;
use super::shadow::{MergedShadow, WrittenShadow};
use super::swap::{MergedSwap, WrittenSwap};
use super::{Config, ConfigError, Fetch, Mode, Probation, Updater, units};

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
    shadow: MergedShadow,
    swap: MergedSwap,
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

    pub(super) fn list<T: FromStr, C: FromIterator<T>>(
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
            policy: self.policy.merge(),
            shadow: self.shadow.merge(),
            swap: self.swap.merge(),
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
            shadow: self.shadow.validate(source)?,
            swap: self.swap.validate(source)?,
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

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "automatic" => Ok(Mode::Automatic),
        "on-restart" => Ok(Mode::OnRestart),
        "manual" => Ok(Mode::Manual),
        _ => Err(format!("{text:?} is none of \"automatic\", \"on-restart\" and \"manual\"")),
    }
}

fn rate(text: &str) -> Result<Option<u64>, units::BadUnit> {
    if text == "none" { Ok(None) } else { units::rate(text).map(Some) }
}
