//! Asking a web server: redirects that never leave HTTPS, ranges, and proxies for everything but this machine.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::blocking::{Client, Response};
use reqwest::header::{CONTENT_RANGE, DATE, ETAG, HeaderName, IF_RANGE, RANGE, RETRY_AFTER};
use reqwest::{StatusCode, Url, redirect};

use super::{NetError, Opened, Patience, Proxy};

/// Redirects followed for one file.
const REDIRECTS: usize = 5;
/// Longest `ETag` that is sent back.
const LONGEST_ETAG: usize = 200;

pub(super) fn ask(
    client: &Client,
    base: &Url,
    path: &[String],
    (from, etag): (u64, Option<&str>),
) -> Result<Option<Opened>, NetError> {
    let mut url = base.clone();
    // Pushed segment by segment, so that no path can name another host or leave the repository.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    let send = || {
        let mut request = client.get(url.clone());
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
            if let Some(etag) = etag {
                request = request.header(IF_RANGE, etag);
            }
        }
        request.send()
    };
    let answer = match send() {
        // A connection kept from an earlier answer may have been closed meanwhile: a fresh one decides.
        Err(error) if !error.is_connect() && !error.is_timeout() => send(),
        answer => answer,
    };
    let answer = answer.map_err(|error| NetError::Unreachable {
        url: url.to_string(),
        source: error.without_url().into(),
    })?;
    let starts_at = match answer.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        StatusCode::OK => 0,
        StatusCode::PARTIAL_CONTENT if continues_at(&answer, from) => from,
        StatusCode::PARTIAL_CONTENT => {
            return Err(NetError::OtherRange { url: url.to_string(), from });
        }
        status => {
            let (status, retry_after) = (status.as_u16(), retry_after(&answer));
            return Err(NetError::Status { url: url.to_string(), status, retry_after });
        }
    };
    let strong = |etag: &&str| etag.starts_with('"') && etag.len() <= LONGEST_ETAG;
    let etag = header(&answer, ETAG).filter(strong).map(str::to_owned);
    Ok(Some(Opened { bytes: Box::new(answer), starts_at, etag }))
}

fn header(answer: &Response, name: HeaderName) -> Option<&str> {
    answer.headers().get(name)?.to_str().ok()
}

/// RFC 9110 10.2.3: seconds, or a date. A date counts from the server's own, so that no two clocks are compared.
fn retry_after(answer: &Response) -> Option<Duration> {
    let text = header(answer, RETRY_AFTER)?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let now = header(answer, DATE).and_then(date).unwrap_or_else(Timestamp::now);
    Duration::try_from(date(text)?.duration_since(now)).ok()
}

/// Whether a partial answer begins where it was asked to.
fn continues_at(answer: &Response, from: u64) -> bool {
    let range = header(answer, CONTENT_RANGE);
    range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

pub(super) fn client(
    base: &Url,
    proxy: &Proxy,
    patience: Patience,
) -> Result<Client, reqwest::Error> {
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
    match proxy {
        Proxy::Environment if !local => builder,
        Proxy::Through(url) if !local => builder.proxy(reqwest::Proxy::all(url.clone())?),
        Proxy::Environment | Proxy::Through(_) | Proxy::Direct => builder.no_proxy(),
    }
    .build()
}

fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}
