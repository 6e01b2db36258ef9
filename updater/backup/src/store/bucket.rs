//! A part of an S3-compatible bucket as a store. Addresses are signed here, `reqwest` carries the bytes.

use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_metadata::Sha256;
use countersign_updater::config::backup::BucketPlace;
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Credentials, S3Action, UrlStyle};

use super::{Entry, MARKER, MAX_MARKER, Stamp, Store, StoreError, Swapped};
use crate::secret;

/// How long a signed address is good.
const GOOD_FOR: Duration = Duration::from_secs(900);
/// One request, the bytes of a pack included.
const DEADLINE: Duration = Duration::from_secs(1800);
const CONNECT: Duration = Duration::from_secs(15);
/// Of each request, where trying again can help.
const ATTEMPTS: u32 = 3;
/// Longest page of a listing, in bytes.
const MAX_LISTING: u64 = 16 << 20;
/// The store checks what arrived against this.
const CHECKSUM: &str = "x-amz-checksum-sha256";

/// A part of a bucket.
pub struct Bucket {
    bucket: rusty_s3::Bucket,
    prefix: String,
    place: String,
    credentials: Credentials,
    client: Client,
}

enum Answer {
    Good(Response),
    /// The status and the beginning of what the store says.
    No(StatusCode, String),
}

impl Bucket {
    /// The store in `place`, with credentials from its file or the environment.
    ///
    /// # Errors
    /// There are no credentials.
    pub fn open(place: &BucketPlace) -> Result<Self, StoreError> {
        let credentials = secret::credentials(place.credentials.as_deref())?;
        let name = format!("s3://{}/{}", place.bucket, place.prefix);
        let unusable = |reason: String| StoreError::Unreachable {
            what: "begin".to_owned(),
            place: name.clone(),
            reason,
        };
        let (endpoint, region) = (place.endpoint.clone(), place.region.clone());
        let bucket = rusty_s3::Bucket::new(endpoint, UrlStyle::Path, place.bucket.clone(), region)
            .map_err(|error| unusable(error.to_string()))?;
        let builder = Client::builder()
            .user_agent(concat!("countersign-backup/", env!("CARGO_PKG_VERSION")))
            // A signed address is good for one host.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(DEADLINE);
        let local = place.endpoint.scheme() == "http";
        let client = if local { builder.no_proxy() } else { builder }.build();
        let client = client.map_err(|error| unusable(error.to_string()))?;
        Ok(Self { bucket, prefix: place.prefix.clone(), place: name, credentials, client })
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    fn unreachable(&self, what: &str, reason: String) -> StoreError {
        StoreError::Unreachable { what: what.to_owned(), place: self.place.clone(), reason }
    }

    /// Sends a request, again where that can help; `expected` is no failure either.
    fn send(
        &self,
        what: &str,
        expected: &[StatusCode],
        request: impl Fn() -> Result<Response, reqwest::Error>,
    ) -> Result<Answer, StoreError> {
        let mut attempt = 1;
        loop {
            let again = attempt < ATTEMPTS;
            match request() {
                Ok(answer) if answer.status().is_success() => return Ok(Answer::Good(answer)),
                Ok(answer) => {
                    let status = answer.status();
                    let mut said = Vec::new();
                    let _only_a_hint = answer.take(4096).read_to_end(&mut said);
                    let said = code(&String::from_utf8_lossy(&said));
                    if expected.contains(&status) {
                        return Ok(Answer::No(status, said));
                    }
                    let reason = format!("{status} {said}").trim().to_owned();
                    let passing =
                        status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    if !passing {
                        let (what, place) = (what.to_owned(), self.place.clone());
                        return Err(StoreError::Refused { what, place, reason });
                    }
                    if !again {
                        return Err(self.unreachable(what, reason));
                    }
                }
                Err(_) if again => {}
                // Without its address, which carries a signature.
                Err(error) => return Err(self.unreachable(what, told(error))),
            }
            pause(attempt);
            attempt += 1;
        }
    }

    fn bytes(&self, path: &str, answer: Response, max: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let what = format!("read {path}");
        let read = answer.take(max.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| self.unreachable(&what, error.to_string()))?;
        match bytes.len() as u64 > max {
            true => Err(StoreError::Length { place: self.place.clone(), path: path.to_owned() }),
            false => Ok(bytes),
        }
    }

    fn get_answer(&self, path: &str) -> Result<Option<Response>, StoreError> {
        let key = self.key(path);
        let get = self.bucket.get_object(Some(&self.credentials), &key);
        let sent = self.send(&format!("read {path}"), &[StatusCode::NOT_FOUND], || {
            self.client.get(get.sign(GOOD_FOR)).send()
        })?;
        match sent {
            Answer::Good(answer) => Ok(Some(answer)),
            Answer::No(_, said) if said.contains("NoSuchBucket") => {
                Err(StoreError::Gone(self.place.clone()))
            }
            Answer::No(..) => Ok(None),
        }
    }

    /// Puts an object; with a condition, `false` if that did not hold.
    fn put_if(
        &self,
        path: &str,
        bytes: &[u8],
        condition: Option<(&'static str, &str)>,
    ) -> Result<bool, StoreError> {
        let key = self.key(path);
        let mut put = self.bucket.put_object(Some(&self.credentials), &key);
        let checksum = STANDARD.encode(Sha256::of(bytes).as_bytes());
        put.headers_mut().insert(CHECKSUM, checksum.clone());
        if let Some((name, value)) = condition {
            put.headers_mut().insert(name, value.to_owned());
        }
        let body = bytes::Bytes::copy_from_slice(bytes);
        let what = format!("write {path}");
        let lost = [StatusCode::PRECONDITION_FAILED, StatusCode::CONFLICT];
        let expected: &[StatusCode] = if condition.is_some() { &lost } else { &[] };
        let sent = self.send(&what, expected, || {
            let mut request = self.client.put(put.sign(GOOD_FOR)).header(CHECKSUM, &checksum);
            if let Some((name, value)) = condition {
                request = request.header(name, value);
            }
            request.body(body.clone()).send()
        })?;
        Ok(matches!(sent, Answer::Good(_)))
    }
}

/// The `<Code>` of an S3 error.
fn code(said: &str) -> String {
    let code = said.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or_else(String::new, |(code, _)| code.chars().take(100).collect())
}

fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}

#[expect(clippy::disallowed_methods, reason = "a store that has trouble is given a moment")]
fn pause(attempt: u32) {
    std::thread::sleep(Duration::from_millis(200) * attempt);
}

impl Store for Bucket {
    fn place(&self) -> &str {
        &self.place
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>, StoreError> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut list = self.bucket.list_objects_v2(Some(&self.credentials));
            list.with_prefix(self.key(&format!("{directory}/")));
            if let Some(token) = next.take() {
                list.with_continuation_token(token);
            }
            let what = format!("list {directory}");
            let Answer::Good(answer) =
                self.send(&what, &[], || self.client.get(list.sign(GOOD_FOR)).send())?
            else {
                return Err(self.unreachable(&what, "no answer".to_owned()));
            };
            let bytes = self.bytes(directory, answer, MAX_LISTING)?;
            let page = ListObjectsV2::parse_response(&String::from_utf8_lossy(&bytes))
                .map_err(|error| self.unreachable(&what, error.to_string()))?;
            for object in page.contents {
                if let (Some(path), Some(size)) =
                    (object.key.strip_prefix(&self.prefix), object.size)
                {
                    let modified = object.last_modified.and_then(|at| at.parse().ok());
                    found.push(Entry { path: path.to_owned(), size, modified });
                }
            }
            match page.next_continuation_token {
                Some(token) => next = Some(token),
                None => return Ok(found),
            }
        }
    }

    fn get(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_answer(path)?.map(|answer| self.bytes(path, answer, max)).transpose()
    }

    fn part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let (place, name) = (self.place.clone(), path.to_owned());
        if length == 0 {
            return Ok(Vec::new());
        }
        let key = self.key(path);
        let get = self.bucket.get_object(Some(&self.credentials), &key);
        let range = format!("bytes={offset}-{}", offset + length - 1);
        let none = [StatusCode::NOT_FOUND, StatusCode::RANGE_NOT_SATISFIABLE];
        let sent = self.send(&format!("read {path}"), &none, || {
            self.client.get(get.sign(GOOD_FOR)).header("range", &range).send()
        })?;
        let answer = match sent {
            Answer::Good(answer) => answer,
            Answer::No(StatusCode::NOT_FOUND, _) => {
                return Err(StoreError::Missing { place, path: name });
            }
            Answer::No(..) => return Err(StoreError::Length { place, path: name }),
        };
        let partial = answer.status() == StatusCode::PARTIAL_CONTENT;
        let bytes = self.bytes(path, answer, length)?;
        match partial && bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err(StoreError::Length { place, path: name }),
        }
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_if(path, bytes, None).map(|_| ())
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        let key = self.key(path);
        let delete = self.bucket.delete_object(Some(&self.credentials), &key);
        self.send(&format!("remove {path}"), &[StatusCode::NOT_FOUND], || {
            self.client.delete(delete.sign(GOOD_FOR)).send()
        })?;
        Ok(())
    }

    fn marker(&self) -> Result<Option<(Vec<u8>, Stamp)>, StoreError> {
        let Some(answer) = self.get_answer(MARKER)? else { return Ok(None) };
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or("*");
        let stamp = Stamp(tag.to_owned());
        Ok(Some((self.bytes(MARKER, answer, MAX_MARKER)?, stamp)))
    }

    fn swap_marker(&self, before: Option<&Stamp>, bytes: &[u8]) -> Result<Swapped, StoreError> {
        let condition = before.map_or(("if-none-match", "*"), |Stamp(tag)| ("if-match", tag));
        // An answer that was lost is followed by a second try, whose condition cannot hold; and a store that ignores
        // conditions says yes to everybody. What is there now decides.
        let _either_way = self.put_if(MARKER, bytes, Some(condition))?;
        let there = self.marker()?;
        let ours = there.is_some_and(|(there, _)| there == bytes);
        Ok(if ours { Swapped::Done } else { Swapped::Lost })
    }

    fn is_atomic(&self) -> Result<bool, StoreError> {
        // The marker is there: a store that heeds conditions refuses to make it.
        let Some((bytes, _)) = self.marker()? else { return Ok(false) };
        Ok(!self.put_if(MARKER, &bytes, Some(("if-none-match", "*")))?)
    }
}

#[cfg(test)]
mod tests {
    use super::code;

    #[test]
    fn what_an_s3_store_says_is_its_code() {
        let said = "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code></Error>";
        assert_eq!(code(said), "NoSuchBucket");
        assert_eq!(code("<html>"), "");
    }
}
