//! An S3-compatible object store: list, get, put. Addresses are signed here, `reqwest` carries the bytes.
//!
//! Why not `object_store`? It brings a runtime and an async streaming layer; three requests need neither.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use countersign_console::{Exit, Failure, Hint};
use countersign_metadata::trust::{Source, SourceError};
use reqwest::blocking::{Body, Client, Response};
use reqwest::{StatusCode, Url};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

/// How long a signed address is good.
const GOOD_FOR: Duration = Duration::from_secs(900);
/// A whole upload, artifacts included.
const DEADLINE: Duration = Duration::from_secs(3600);
const CONNECT: Duration = Duration::from_secs(15);
/// Of each request, where trying again can help.
const ATTEMPTS: u32 = 3;
/// Longest page of a listing, in bytes.
const MAX_LISTING: u64 = 8 << 20;

/// `s3://BUCKET/PREFIX`.
#[derive(Clone, Debug)]
pub(crate) struct StoreUrl {
    bucket: String,
    prefix: String,
}

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest =
            text.strip_prefix("s3://").ok_or("a store is written like s3://BUCKET/PREFIX")?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._/".contains(&b));
        if bucket.is_empty() || !plain(rest) || prefix.split('/').any(|s| matches!(s, "." | "..")) {
            return Err("a store is written like s3://BUCKET/PREFIX");
        }
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { bucket: bucket.to_owned(), prefix })
    }
}

/// An object store, or the part of it below a prefix.
pub(crate) struct Store {
    bucket: Bucket,
    prefix: String,
    credentials: Credentials,
    client: Client,
}

impl Store {
    /// Credentials come from the environment, never from arguments.
    pub(crate) fn open(to: &StoreUrl, endpoint: &Url, region: &str) -> Result<Self, Failure> {
        let StoreUrl { bucket, prefix } = to.clone();
        let credentials = Credentials::from_env().ok_or_else(|| {
            Failure::new(Exit::Secret, "there are no credentials for the object store")
                .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN)")
        })?;
        let what = format!("{endpoint} is no endpoint of an object store");
        let bucket = Bucket::new(endpoint.clone(), UrlStyle::Path, bucket, region.to_owned())
            .or_fail(Exit::Usage, what)?;
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(DEADLINE)
            .build()
            .or_fail(Exit::Host, "cannot make an HTTP client")?;
        Ok(Self { bucket, prefix, credentials, client })
    }

    /// Every object below the prefix, with its length in bytes.
    pub(crate) fn list(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let mut found = BTreeMap::new();
        let mut next = None;
        loop {
            let mut list = self.bucket.list_objects_v2(Some(&self.credentials));
            list.with_prefix(self.prefix.clone());
            if let Some(token) = next.take() {
                list.with_continuation_token(token);
            }
            let answer =
                self.send("list the store", || self.client.get(list.sign(GOOD_FOR)).send())?;
            let bytes =
                bounded(answer, MAX_LISTING).or_fail(Exit::Network, "cannot list the store")?;
            let text = String::from_utf8_lossy(&bytes);
            let page = ListObjectsV2::parse_response(&text)
                .or_fail(Exit::Network, "the store's listing makes no sense")?;
            for object in page.contents {
                if let Some(path) = object.key.strip_prefix(&self.prefix) {
                    // Of unknown length: to be put again.
                    found.insert(path.to_owned(), object.size.unwrap_or(u64::MAX));
                }
            }
            match page.next_continuation_token {
                Some(token) => next = Some(token),
                None => return Ok(found),
            }
        }
    }

    /// Uploads a file. An object appears whole or not at all.
    pub(crate) fn put(&self, path: &str, file: &Path) -> Result<(), Failure> {
        let cannot = || format!("cannot read {}", file.display());
        let length = file.metadata().or_fail(Exit::Host, cannot())?.len();
        let key = format!("{}{path}", self.prefix);
        let put = self.bucket.put_object(Some(&self.credentials), &key);
        File::open(file).or_fail(Exit::Host, cannot())?;
        self.send(&format!("upload {path}"), || {
            let body = File::open(file).map(|file| Body::sized(file, length));
            let request = self.client.put(put.sign(GOOD_FOR));
            request.body(body.unwrap_or_else(|_| Body::from(""))).send()
        })?;
        Ok(())
    }

    /// Sends a request, again where that can help.
    fn send(
        &self,
        what: &str,
        request: impl Fn() -> Result<Response, reqwest::Error>,
    ) -> Result<Response, Failure> {
        let mut attempt = 1;
        loop {
            let again = attempt < ATTEMPTS;
            match request() {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) if again && answer.status().is_server_error() => {}
                Ok(answer) => {
                    let sentence = format!("cannot {what}: the store says {}", answer.status());
                    let hint =
                        "check bucket, credentials and region; what clients see is as before";
                    return Err(Failure::new(Exit::Network, sentence).hint(hint));
                }
                Err(_) if again => {}
                // Without its address, which carries a signature.
                Err(error) => {
                    let what = format!("cannot {what}");
                    return Err(Failure::caused(Exit::Network, what, &error.without_url()));
                }
            }
            std::thread::sleep(Duration::from_millis(200) * attempt);
            attempt += 1;
        }
    }
}

impl Source for Store {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let key = format!("{}{path}", self.prefix);
        let get = self.bucket.get_object(Some(&self.credentials), &key);
        let answer =
            self.client.get(get.sign(GOOD_FOR)).send().map_err(reqwest::Error::without_url)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.error_for_status().map_err(reqwest::Error::without_url)?;
        Ok(Some(bounded(answer, max_bytes).map_err(SourceError::permanent)?))
    }
}

fn bounded(answer: Response, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    answer.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("it is longer than {max_bytes} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_a_bucket_and_a_prefix() {
        let url = |text: &str| text.parse::<StoreUrl>().map(|u| (u.bucket, u.prefix));
        assert_eq!(url("s3://b"), Ok(("b".to_owned(), String::new())));
        assert_eq!(url("s3://b/one/two/"), Ok(("b".to_owned(), "one/two/".to_owned())));
        for bad in ["", "b", "s3://", "s3:///x", "http://b/x", "s3://b/../x", "s3://b/a b"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
