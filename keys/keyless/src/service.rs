//! Posting to the services of an instance: bytes with a limit and a deadline, nothing believed.

use std::io::{self, Read};
use std::time::Duration;

use countersign_metadata::sigstore::{Post, limit};
use reqwest::blocking::Client;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Url, redirect};

use crate::instance::is_local;

const CONNECT: Duration = Duration::from_secs(15);
/// A log of tiles answers when the entry is in the tree, which takes seconds.
const DEADLINE: Duration = Duration::from_secs(60);
/// As much of a refusal as people are shown.
const SAID: usize = 300;

/// A service that gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Nobody is there, or not in time; trying again can help.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// The address.
        url: Url,
        /// Why.
        source: reqwest::Error,
    },
    /// It answered, with a refusal.
    #[error("{url} refused with status {status}: {said:?}")]
    Refused {
        /// The address.
        url: Url,
        /// The HTTP status.
        status: u16,
        /// What it said, cut short.
        said: String,
    },
    /// The answer broke off, or is longer than it may be.
    #[error("the answer of {url} cannot be read")]
    Answer {
        /// The address.
        url: Url,
        /// Why.
        source: io::Error,
    },
    /// The address cannot have anything below it.
    #[error("{0} is no address of a service")]
    Address(Url),
}

/// Posts JSON below a service's address.
///
/// # Errors
/// There is no answer, or it is a refusal.
pub fn post(service: &Url, what: &Post) -> Result<Vec<u8>, ServiceError> {
    let mut url = service.clone();
    url.path_segments_mut()
        .map_err(|()| ServiceError::Address(service.clone()))?
        .pop_if_empty()
        .extend(what.path.split('/'));
    send(url, "application/json", what.body.clone())
}

/// Posts a question to a timestamp authority, whose address is whole.
///
/// # Errors
/// As [`post`].
pub fn stamp(authority: &Url, query: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    send(authority.clone(), "application/timestamp-query", query)
}

fn send(url: Url, kind: &'static str, body: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let unreachable = |url: &Url| {
        let url = url.clone();
        move |error: reqwest::Error| ServiceError::Unreachable { url, source: error.without_url() }
    };
    // No redirect: a token goes to the address that the configuration names, or nowhere.
    let builder = Client::builder()
        .user_agent(concat!("countersign-keyless/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(DEADLINE);
    // A service on this machine is never asked through a proxy.
    let builder = if is_local(&url) { builder.no_proxy() } else { builder };
    let client = builder.build().map_err(unreachable(&url))?;
    let request = client.post(url.clone()).header(CONTENT_TYPE, kind).body(body);
    let answer = request.send().map_err(unreachable(&url))?;
    let status = answer.status();
    let mut bytes = Vec::new();
    let read = answer.take(limit::ANSWER + 1).read_to_end(&mut bytes);
    if !status.is_success() {
        let said = String::from_utf8_lossy(&bytes).chars().take(SAID).collect();
        return Err(ServiceError::Refused { url, status: status.as_u16(), said });
    }
    match read {
        Ok(_) if bytes.len() as u64 <= limit::ANSWER => Ok(bytes),
        Ok(_) => {
            let source = io::Error::other(format!("more than {} bytes", limit::ANSWER));
            Err(ServiceError::Answer { url, source })
        }
        Err(source) => Err(ServiceError::Answer { url, source }),
    }
}
