//! A package index of pip's configuration: the simple repository, as JSON (PEP 691) or as a page of links (PEP 503).

use std::collections::BTreeMap;
use std::process::Command;

use countersign_metadata::Sha256;
use reqwest::Url;
use reqwest::blocking::Client;
use serde::Deserialize;

use super::{PypiId, is_file_name, normalised};
use crate::http::{self, RepositoryError};
use crate::inputs::debian::last_lines;
use crate::inputs::{InputError, Inputs};

/// Longest list of a package's files, in bytes.
const MAX_PAGE: u64 = 64 << 20;
const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, text/html;q=0.1";
/// Prints the address of the index that pip would take: what is configured, and else its own.
const ASK: &str = "\
from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI
import os
configuration = Configuration(isolated=False)
configuration.load()
found = dict(configuration.items())
if found and all(isinstance(value, dict) for value in found.values()):
    found = {key: value for file in found.values() for key, value in file.items()}
print(found.get(':env:.index-url') or found.get('download.index-url')
      or found.get('global.index-url') or PyPI.simple_url)
";

/// An index.
pub(super) struct Index {
    base: String,
    client: Client,
}

/// A file of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its name.
    pub(super) name: String,
    /// Where it is.
    pub(super) url: String,
    /// What it is.
    pub(super) sha256: Sha256,
}

#[derive(Deserialize)]
struct Page {
    files: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    filename: String,
    url: String,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

impl Index {
    /// The one that pip on this machine would ask.
    pub(super) fn of_machine(inputs: &Inputs) -> Result<Self, InputError> {
        let failed =
            |what: String| InputError::Client { client: "pip", name: "its index".to_owned(), what };
        // Of its own, as Python imports from where it stands.
        let dir = inputs.scratch()?;
        let output = crate::client::output(
            Command::new("python3").args(["-c", ASK]).current_dir(dir.path()),
        )
        .map_err(|e| failed(format!("python3 cannot be run: {e}")))?;
        if !output.status.success() {
            return Err(failed(last_lines(&output.stderr)));
        }
        let base = String::from_utf8_lossy(&output.stdout).trim().trim_end_matches('/').to_owned();
        let client = http::client().map_err(|e| failed(e.to_string()))?;
        Ok(Self { base, client })
    }

    /// All files of a package, whatever their versions: the digest decides.
    pub(super) fn files(&self, id: &PypiId) -> Result<Vec<File>, InputError> {
        let failed = |what: String| InputError::Fetch { name: id.name(), what };
        let page = format!("{}/{}/", self.base, id.name);
        let (stream, _) =
            http::get(&self.client, &page, Some(ACCEPT), MAX_PAGE).map_err(|e| match e {
                RepositoryError::Fetch { what, .. } => failed(what),
                RepositoryError::Gone(_) => failed("its index has no such package".to_owned()),
                other => failed(other.to_string()),
            })?;
        let page_url = Url::parse(&page).map_err(|e| failed(e.to_string()))?;
        let bytes = {
            use std::io::Read as _;
            let mut bytes = Vec::new();
            stream.take(MAX_PAGE).read_to_end(&mut bytes).map_err(|e| failed(e.to_string()))?;
            bytes
        };
        let listed = match serde_json::from_slice::<Page>(&bytes) {
            Ok(page) => page.files,
            Err(_) if bytes.trim_ascii_start().starts_with(b"<") => {
                linked(&String::from_utf8_lossy(&bytes))
            }
            Err(e) => {
                return Err(failed(format!("its index answers neither by PEP 691 nor 503: {e}")));
            }
        };
        let files = listed.into_iter().filter_map(|listed| {
            let sha256 = listed.hashes.get("sha256")?.parse().ok()?;
            let mut url = page_url.join(&listed.url).ok()?;
            url.set_fragment(None);
            is_file_name(&listed.filename).then(|| File {
                name: listed.filename,
                url: url.to_string(),
                sha256,
            })
        });
        Ok(files.collect())
    }
}

/// The links of a page, as PEP 503 writes them: `<a href="URL#sha256=DIGEST" …>FILE</a>`.
fn linked(page: &str) -> Vec<Listed> {
    let mut files = Vec::new();
    for link in page.split("<a ").skip(1) {
        let Some((attributes, rest)) = link.split_once('>') else { continue };
        let filename = rest.split('<').next().unwrap_or_default().trim().to_owned();
        let Some(href) = attributes.split("href=\"").nth(1).and_then(|h| h.split('"').next())
        else {
            continue;
        };
        let href = href.replace("&amp;", "&");
        let Some((url, digest)) = href.split_once("#sha256=") else { continue };
        let hashes = BTreeMap::from([("sha256".to_owned(), digest.to_owned())]);
        files.push(Listed { filename, url: url.to_owned(), hashes });
    }
    files
}

impl File {
    /// Whether it is a version's source archive.
    pub(super) fn is_source_of(&self, id: &PypiId) -> bool {
        let stem = [".tar.gz", ".zip", ".tar.bz2"].iter().find_map(|e| self.name.strip_suffix(e));
        let Some((name, version)) = stem.and_then(|stem| stem.rsplit_once('-')) else {
            return false;
        };
        normalised(name) == id.name && version == id.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_links_is_read_as_far_as_it_has_digests() {
        let digest = "a".repeat(64);
        let page = format!(
            "<html><a data-x=\"&gt;=3\" href=\"../f/a-1.whl?x=1&amp;y=2#sha256={digest}\">a-1.whl</a><br/>\n\
             <a href=\"b-1.tar.gz#md5=00\">b-1.tar.gz</a><a name=\"c\">c</a><a href=\"open"
        );
        let files = linked(&page);
        assert_eq!(files.len(), 1);
        assert_eq!((&*files[0].filename, &*files[0].url), ("a-1.whl", "../f/a-1.whl?x=1&y=2"));
        assert_eq!(files[0].hashes["sha256"], digest);
    }
}
