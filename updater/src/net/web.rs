//! Asking a web server: redirects that never leave HTTPS, ranges, and proxies for everything but this machine.

use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{StatusCode, Url, redirect};

use super::{NetError, Opened, Patience};

/// Redirects followed for one file.
const REDIRECTS: usize = 5;

pub(super) fn ask(
    client: &Client,
    base: &Url,
    path: &[String],
    from: u64,
) -> Result<Opened, NetError> {
    let mut url = base.clone();
    // Pushed segment by segment, so that no path can name another host or leave the repository.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    let send = |from: u64| {
        let mut request = client.get(url.clone());
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        request.send()
    };
    let send = |from: u64| -> Result<Response, NetError> {
        let answer = match send(from) {
            // A connection kept from an earlier answer may have been closed meanwhile: a fresh one decides.
            Err(error) if !error.is_connect() && !error.is_timeout() => send(from),
            answer => answer,
        };
        answer.map_err(|error| NetError::Unreachable {
            url: url.to_string(),
            source: error.without_url().into(),
        })
    };
    let mut answer = send(from)?;
    if answer.status() == StatusCode::RANGE_NOT_SATISFIABLE {
        answer = send(0)?;
    }
    match answer.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
        StatusCode::OK => Ok(Some((Box::new(answer), 0))),
        StatusCode::PARTIAL_CONTENT if continues_at(&answer, from) => {
            Ok(Some((Box::new(answer), from)))
        }
        status => Err(NetError::Status { url: url.to_string(), status: status.as_u16() }),
    }
}

/// Whether a partial answer begins where it was asked to.
fn continues_at(answer: &Response, from: u64) -> bool {
    let range = answer.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

pub(super) fn client(base: &Url, patience: Patience) -> Result<Client, reqwest::Error> {
    let redirects = redirect::Policy::custom(|attempt| {
        let secure = attempt.previous().iter().any(|url| url.scheme() == "https");
        if attempt.previous().len() > REDIRECTS {
            attempt.error("too many redirects")
        } else if attempt.url().scheme() != "https" && (secure || attempt.url().scheme() != "http")
        {
            attempt.error("the redirect leaves HTTPS")
        } else {
            attempt.follow()
        }
    });
    let builder = Client::builder()
        .user_agent(concat!("countersign-updater/", env!("CARGO_PKG_VERSION")))
        .redirect(redirects)
        .connect_timeout(patience.connect)
        // Of the blocking client: for the answer to begin, and then for each read.
        .timeout(patience.idle);
    // A mirror on this machine is never asked through a proxy.
    let local = base.host_str().is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback)
    });
    if local { builder.no_proxy() } else { builder }.build()
}

fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}
