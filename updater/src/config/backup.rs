//! `[backup]`: where encrypted copies of snapshots go, and how many are kept there.
//!
//! ```toml
//! [backup]
//! to = "/mnt/backup/node-a"          # or "s3://BUCKET/PREFIX", with:
//! endpoint = "https://s3.example.org"
//! region = "us-east-1"
//! credentials = "/etc/countersign/s3" # mode 0600: AWS_ACCESS_KEY_ID=… lines; without it, those variables
//! password-file = "/etc/countersign/backup.password" # mode 0600
//! secrets = true                     # false: what a release calls secret stays here
//! keep-last = 10                     # further: keep-daily, keep-weekly, keep-monthly
//! queue = 16                         # how many snapshots may wait for the store
//! retry = "1m..1h"                   # after a failure, doubling
//! insecure = false                   # true: plain http to other machines, by name
//! ```

use std::path::PathBuf;

use reqwest::Url;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::ConfigError;
use super::units::Window;
use super::written::{Source, absolute, or};

/// Off-machine copies of every snapshot.
#[derive(Clone, Debug)]
pub struct Backup {
    /// The store.
    pub to: Place,
    /// Holds the password that the store's keys are locked with.
    pub password_file: PathBuf,
    /// Whether secret areas go there too.
    pub secrets: bool,
    /// What is kept there.
    pub keep: Keep,
    /// How many snapshots may wait for the store; from 1.
    pub queue: u32,
    /// The first and the longest pause after a failure.
    pub retry: Window,
}

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A directory, on another disk or machine.
    Directory(PathBuf),
    /// A part of an S3-compatible bucket.
    Bucket(BucketPlace),
}

/// A part of an S3-compatible bucket.
#[derive(Clone, Debug)]
pub struct BucketPlace {
    /// The bucket's name.
    pub bucket: String,
    /// Empty, or ending with a slash.
    pub prefix: String,
    /// https, or http on loopback, unless `insecure` was said.
    pub endpoint: Url,
    /// The region that requests are signed for.
    pub region: String,
    /// A file with credentials; else they come from the environment.
    pub credentials: Option<PathBuf>,
}

/// How many snapshots a store keeps; the newest is always one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many; from 1.
    pub last: u32,
    /// The last of so many days.
    pub daily: u32,
    /// The last of so many weeks.
    pub weekly: u32,
    /// The last of so many months.
    pub monthly: u32,
}

/// As written.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct WrittenBackup {
    to: Option<Spanned<String>>,
    endpoint: Option<Spanned<String>>,
    region: Option<Spanned<String>>,
    credentials: Option<Spanned<String>>,
    password_file: Option<Spanned<String>>,
    secrets: Option<bool>,
    keep_last: Option<Spanned<u32>>,
    keep_daily: Option<Spanned<u32>>,
    keep_weekly: Option<Spanned<u32>>,
    keep_monthly: Option<Spanned<u32>>,
    queue: Option<Spanned<u32>>,
    retry: Option<Spanned<String>>,
    insecure: Option<bool>,
}

impl WrittenBackup {
    pub(super) fn merge(self) -> Self {
        Self {
            region: Some(or(self.region, "us-east-1")),
            secrets: Some(self.secrets.unwrap_or(true)),
            keep_last: Some(or(self.keep_last, 10u32)),
            keep_daily: Some(or(self.keep_daily, 0u32)),
            keep_weekly: Some(or(self.keep_weekly, 0u32)),
            keep_monthly: Some(or(self.keep_monthly, 0u32)),
            queue: Some(or(self.queue, 16u32)),
            retry: Some(or(self.retry, "1m..1h")),
            insecure: Some(self.insecure.unwrap_or(false)),
            ..self
        }
    }

    /// `None`: no backups are wanted.
    pub(super) fn validate(self, source: &Source<'_>) -> Result<Option<Backup>, ConfigError> {
        let Some(to) = &self.to else { return Ok(None) };
        let file = |key, value: &Option<Spanned<String>>| {
            value.as_ref().map(|value| source.read(key, value, absolute)).transpose()
        };
        let place = match to.get_ref().strip_prefix("s3://") {
            None => Place::Directory(source.read("backup.to", to, absolute)?),
            Some(_) => {
                let (bucket, prefix) = source.read("backup.to", to, bucket)?;
                let insecure = self.insecure.unwrap_or(false);
                let written = self.endpoint.as_ref();
                let written = written.ok_or_else(|| source.missing("backup.endpoint"))?;
                Place::Bucket(BucketPlace {
                    bucket,
                    prefix,
                    endpoint: source
                        .read("backup.endpoint", written, |text| endpoint(text, insecure))?,
                    region: or(self.region, "us-east-1").into_inner(),
                    credentials: file("backup.credentials", &self.credentials)?,
                })
            }
        };
        let password_file = file("backup.password-file", &self.password_file)?
            .ok_or_else(|| source.missing("backup.password-file"))?;
        let number = |value: &Option<Spanned<u32>>| value.as_ref().map_or(0, |v| *v.get_ref());
        let some = |key, value| source.one_or_more(key, &or(value, 1u32));
        let retry: Window = source.text("backup.retry", &or(self.retry, "1m..1h"))?;
        Ok(Some(Backup {
            to: place,
            password_file,
            secrets: self.secrets.unwrap_or(true),
            keep: Keep {
                daily: number(&self.keep_daily),
                weekly: number(&self.keep_weekly),
                monthly: number(&self.keep_monthly),
                last: some("backup.keep-last", self.keep_last)?,
            },
            queue: some("backup.queue", self.queue)?,
            retry,
        }))
    }
}

/// `s3://BUCKET/PREFIX`, as a bucket and a prefix that is empty or ends with a slash.
fn bucket(text: &str) -> Result<(String, String), &'static str> {
    let wrong = "a store is a directory, or s3://BUCKET/PREFIX";
    let rest = text.strip_prefix("s3://").ok_or(wrong)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b));
    let prefix = prefix.trim_matches('/');
    if bucket.is_empty() || !plain(rest) || prefix.split('/').any(|s| matches!(s, "." | "..")) {
        return Err(wrong);
    }
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok((bucket.to_owned(), prefix))
}

/// This machine, by name or address.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn endpoint(text: &str, insecure: bool) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?}: {error}"))?;
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if insecure || is_loopback(host) => Ok(url),
        ("http", Some(_)) => Err(format!(
            "{text:?} is plain http to another machine; use https, or say insecure = true"
        )),
        _ => Err(format!("{text:?} is no https address")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn parse(lines: &str) -> Result<Option<Backup>, ConfigError> {
        let text = format!("product = \"p\"\nrepositories = [\"file:///r\"]\n[backup]\n{lines}");
        Config::from_text(&text, PathBuf::from("n.toml")).map(|config| config.backup)
    }

    const PASSWORD: &str = "password-file = \"/p\"\n";

    #[test]
    fn backups_are_made_where_a_store_is_named() {
        assert!(parse("").unwrap().is_none());
        let backup = parse(&format!("{PASSWORD}to = \"/mnt/b\"")).unwrap().unwrap();
        assert!(matches!(backup.to, Place::Directory(_)));
        assert_eq!((backup.keep.last, backup.queue, backup.secrets), (10, 16, true));
        let without = parse(&format!("{PASSWORD}to = \"/mnt/b\"\nsecrets = false"));
        assert!(!without.unwrap().unwrap().secrets);
        let lines = format!("{PASSWORD}to = \"s3://b/one/two\"\nendpoint = \"https://s3.x\"");
        match parse(&lines).unwrap().unwrap().to {
            Place::Bucket(place) => assert_eq!((&*place.bucket, &*place.prefix), ("b", "one/two/")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_http_to_another_machine_is_refused_unless_it_is_said() {
        let lines =
            |endpoint: &str| format!("{PASSWORD}to = \"s3://b\"\nendpoint = \"{endpoint}\"\n");
        for loopback in ["http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000"] {
            assert!(parse(&lines(loopback)).is_ok(), "{loopback}");
        }
        let far = lines("http://10.0.0.1:9000");
        let error = parse(&far).unwrap_err().to_string();
        assert!(error.starts_with("n.toml:6: backup.endpoint"), "{error}");
        assert!(parse(&format!("{far}insecure = true")).is_ok());
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (lines, wanted) in [
            ("to = \"/b\"", "n.toml: backup.password-file is missing"),
            ("password-file = \"/p\"\nto = \"s3://b\"", "n.toml: backup.endpoint is missing"),
            ("password-file = \"/p\"\nto = \"b\"", "n.toml:5: backup.to: "),
            ("password-file = \"/p\"\nto = \"s3://b/../c\"", "n.toml:5: backup.to: "),
            ("password-file = \"p\"\nto = \"/b\"", "n.toml:4: backup.password-file: "),
            ("password-file = \"/p\"\nto = \"/b\"\nqueue = 0", "n.toml:6: backup.queue: "),
            ("password-file = \"/p\"\nto = \"/b\"\nkeep-last = 0", "n.toml:6: backup.keep-last: "),
            ("colour = 1", "n.toml:4: "),
        ] {
            let error = parse(lines).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{error}");
        }
    }
}
