//! An S3-compatible object store: list, get, put (whole, in parts, on a condition). Addresses are signed here, `reqwest`
//! carries the bytes.
//!
//! Why not `object_store`? It brings a runtime and an async streaming layer; a handful of requests needs neither.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use countersign_console::{Exit, Failure, Hint};
use countersign_metadata::trust::{Source, SourceError};
use reqwest::blocking::{Body, Client, Response};
use reqwest::{StatusCode, Url};
use rusty_s3::actions::{
    AbortMultipartUpload, CompleteMultipartUpload, CompleteMultipartUploadResponse,
    CreateMultipartUpload, ListObjectsV2, UploadPart,
};
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
/// Longest answer to a step of an upload in parts, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

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

/// How large the parts of an upload are, in bytes: what S3 takes at least and at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartSize(u64);

impl FromStr for PartSize {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mebibytes = text.strip_suffix("MiB").and_then(|n| n.parse::<u64>().ok());
        match mebibytes {
            Some(n) if (5..=4096).contains(&n) => Ok(Self(n << 20)),
            _ => Err("a part is 5MiB to 4096MiB"),
        }
    }
}

/// When an object may be put.
#[derive(Clone, Debug)]
pub(crate) enum When {
    /// There is none.
    Absent,
    /// It is the one with this entity tag.
    Is(String),
}

/// An object, and the entity tag that the store gives it.
pub(crate) struct Tagged {
    pub(crate) bytes: Vec<u8>,
    pub(crate) tag: Option<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was put.
    Put,
    /// The condition did not hold.
    Refused,
    /// The store knows no conditions.
    Unsupported,
}

/// An object store, or the part of it below a prefix.
pub(crate) struct Store {
    bucket: Bucket,
    prefix: String,
    credentials: Credentials,
    client: Client,
    part: u64,
}

impl Store {
    /// Credentials come from the environment, never from arguments.
    pub(crate) fn open(
        to: &StoreUrl,
        endpoint: &Url,
        region: &str,
        part: PartSize,
    ) -> Result<Self, Failure> {
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
        Ok(Self { bucket, prefix, credentials, client, part: part.0 })
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

    /// Uploads a file, a long one in parts. An object appears whole or not at all.
    pub(crate) fn put(&self, path: &str, file: &Path) -> Result<(), Failure> {
        let cannot = || format!("cannot read {}", file.display());
        let length = file.metadata().or_fail(Exit::Host, cannot())?.len();
        let key = format!("{}{path}", self.prefix);
        if length > self.part {
            return self.put_in_parts(path, &key, file, length);
        }
        let put = self.bucket.put_object(Some(&self.credentials), &key);
        File::open(file).or_fail(Exit::Host, cannot())?;
        self.send(&format!("upload {path}"), || {
            let body = File::open(file).map(|file| Body::sized(file, length));
            let request = self.client.put(put.sign(GOOD_FOR));
            request.body(body.unwrap_or_else(|_| Body::from(""))).send()
        })?;
        Ok(())
    }

    /// Parts of one object, put together by the last request: until then there is nothing to be seen. Parts of an
    /// upload that died cost space until the store is told to forget them (a lifecycle rule does).
    fn put_in_parts(&self, path: &str, key: &str, file: &Path, length: u64) -> Result<(), Failure> {
        let credentials = Some(&self.credentials);
        let create = CreateMultipartUpload::new(&self.bucket, credentials, key);
        let begun = self.send(&format!("begin to upload {path}"), || {
            self.client.post(create.sign(GOOD_FOR)).body("").send()
        })?;
        let begun = text(begun).or_fail(Exit::Network, format!("cannot begin to upload {path}"))?;
        let begun = CreateMultipartUpload::parse_response(&begun)
            .or_fail(Exit::Network, "the store's answer to an upload in parts makes no sense")?;
        let id = begun.upload_id();
        let put = self.put_parts(path, key, file, length, id);
        if put.is_err() {
            let abort = AbortMultipartUpload::new(&self.bucket, credentials, key, id);
            let _best_effort = self.client.delete(abort.sign(GOOD_FOR)).send();
        }
        put
    }

    fn put_parts(
        &self,
        path: &str,
        key: &str,
        file: &Path,
        length: u64,
        id: &str,
    ) -> Result<(), Failure> {
        let credentials = Some(&self.credentials);
        let mut tags = Vec::new();
        let starts = (0..length).step_by(usize::try_from(self.part).unwrap_or(usize::MAX));
        for (number, start) in (1_u16..).zip(starts) {
            let size = self.part.min(length - start);
            let upload = UploadPart::new(&self.bucket, credentials, key, number, id);
            let what = format!("upload part {number} of {path}");
            let answer = self.send(&what, || {
                let body = File::open(file).and_then(|mut file| {
                    file.seek(SeekFrom::Start(start))?;
                    Ok(Body::sized(file.take(size), size))
                });
                let request = self.client.put(upload.sign(GOOD_FOR));
                request.body(body.unwrap_or_else(|_| Body::from(""))).send()
            })?;
            tags.push(tag(&answer).ok_or_else(|| {
                Failure::new(Exit::Network, format!("cannot {what}: the store gives it no ETag"))
            })?);
        }
        let tags = tags.iter().map(String::as_str);
        let complete =
            CompleteMultipartUpload::new(&self.bucket, credentials, key, id, tags.clone());
        let url = complete.sign(GOOD_FOR);
        let body = complete.body();
        let what = format!("put the parts of {path} together");
        let answer =
            self.send(&what, || self.client.post(url.clone()).body(body.clone()).send())?;
        // It may say 200 and then that it failed.
        let answer = text(answer).or_fail(Exit::Network, format!("cannot {what}"))?;
        CompleteMultipartUploadResponse::parse(&answer)
            .or_fail(Exit::Network, format!("cannot {what}"))?;
        Ok(())
    }

    /// Uploads a small file where a condition holds, which the store looks at and decides in one step.
    pub(crate) fn put_when(
        &self,
        path: &str,
        bytes: &[u8],
        when: &When,
    ) -> Result<Outcome, Failure> {
        let (name, value) = match when {
            When::Absent => ("if-none-match", "*"),
            When::Is(tag) => ("if-match", tag.as_str()),
        };
        let key = format!("{}{path}", self.prefix);
        let mut put = self.bucket.put_object(Some(&self.credentials), &key);
        put.headers_mut().insert(name, value);
        let what = format!("upload {path}");
        let answer = self.ask(&what, || {
            let request = self.client.put(put.sign(GOOD_FOR)).header(name, value);
            request.body(bytes.to_vec()).send()
        })?;
        match answer.status() {
            status if status.is_success() => Ok(Outcome::Put),
            // 409: another one is being put; 404: what should be there is not.
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT | StatusCode::NOT_FOUND => {
                Ok(Outcome::Refused)
            }
            StatusCode::NOT_IMPLEMENTED => Ok(Outcome::Unsupported),
            status => Err(says(&what, status)),
        }
    }

    /// A small object and its entity tag.
    pub(crate) fn get_tagged(&self, path: &str, max_bytes: u64) -> Result<Option<Tagged>, Failure> {
        let key = format!("{}{path}", self.prefix);
        let get = self.bucket.get_object(Some(&self.credentials), &key);
        let what = format!("read {path} in the store");
        let answer = self.ask(&what, || self.client.get(get.sign(GOOD_FOR)).send())?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => {
                let tag = tag(&answer);
                let bytes = bounded(answer, max_bytes);
                let bytes = bytes.or_fail(Exit::Network, format!("cannot {what}"))?;
                Ok(Some(Tagged { bytes, tag }))
            }
            status => Err(says(&what, status)),
        }
    }

    /// Sends a request that must succeed, again where that can help.
    fn send(
        &self,
        what: &str,
        request: impl Fn() -> Result<Response, reqwest::Error>,
    ) -> Result<Response, Failure> {
        let answer = self.ask(what, request)?;
        if answer.status().is_success() { Ok(answer) } else { Err(says(what, answer.status())) }
    }

    /// Sends a request, again where that can help; whatever the answer then is.
    fn ask(
        &self,
        what: &str,
        request: impl Fn() -> Result<Response, reqwest::Error>,
    ) -> Result<Response, Failure> {
        let passing = |s: StatusCode| s.is_server_error() && s != StatusCode::NOT_IMPLEMENTED;
        let mut attempt = 1;
        loop {
            let again = attempt < ATTEMPTS;
            match request() {
                Ok(answer) if again && passing(answer.status()) => {}
                Ok(answer) => return Ok(answer),
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

fn says(what: &str, status: StatusCode) -> Failure {
    let sentence = format!("cannot {what}: the store says {status}");
    let hint = "check bucket, credentials and region; what clients see is as before";
    Failure::new(Exit::Network, sentence).hint(hint)
}

fn tag(answer: &Response) -> Option<String> {
    Some(answer.headers().get("etag")?.to_str().ok()?.to_owned())
}

fn text(answer: Response) -> io::Result<String> {
    String::from_utf8(bounded(answer, MAX_ANSWER)?).map_err(io::Error::other)
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
