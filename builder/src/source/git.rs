//! One commit of a git repository: `git:COMMIT`, the commit as git keeps it. The stock git fetches it, with no hooks and
//! no configuration but the machine's proxies and rewritten addresses; what it fetched is recomputed here.

mod stock;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use countersign_metadata::release::Input;
use serde::Deserialize;

use super::{SourceError, SourceTar, pack_source, tree};
use crate::inputs::Inputs;
use crate::pack::Plan;
use stock::Git;

/// Longest commit object, in bytes.
pub(crate) const MAX_COMMIT: u64 = 1 << 20;
/// A commit, by all of its digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct CommitId(String);

/// A text that names no commit.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no commit: it has 40 or 64 hexadecimal digits, as `git rev-parse` prints them")]
pub struct NoCommit(String);

impl CommitId {
    /// Its name as a locked input.
    pub fn input_name(&self) -> String {
        format!("git:{}", self.0)
    }

    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_sha256(&self) -> bool {
        self.0.len() == 64
    }
}

impl FromStr for CommitId {
    type Err = NoCommit;

    fn from_str(text: &str) -> Result<Self, NoCommit> {
        let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match digits && matches!(text.len(), 40 | 64) {
            true => Ok(Self(text.to_owned())),
            false => Err(NoCommit(text.chars().take(80).collect())),
        }
    }
}

impl TryFrom<String> for CommitId {
    type Error = NoCommit;

    fn try_from(text: String) -> Result<Self, NoCommit> {
        text.parse()
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The rule that a repository's address breaks, if it does.
pub(crate) fn check_url(url: &str) -> Result<(), &'static str> {
    if url.is_empty() || url.len() > 1024 || url.chars().any(char::is_control) {
        return Err("it is empty, too long, or holds a control character");
    }
    if is_path(url) {
        return Ok(());
    }
    let parsed = reqwest::Url::parse(url)
        .map_err(|_| "it is a URL, or a path that begins with /, ./ or ../")?;
    match parsed.scheme() {
        _ if parsed.password().is_some() => Err("it holds a password"),
        "http" | "https" if !parsed.username().is_empty() => Err("it holds a user"),
        "http" | "https" | "ssh" | "git" if parsed.has_host() => Ok(()),
        _ => Err("git fetches by https, http, ssh and git, or from a directory"),
    }
}

fn is_path(url: &str) -> bool {
    ["/", "./", "../"].iter().any(|begin| url.starts_with(begin)) || url == ".."
}

/// Fetches a commit, and makes the source tar of its tree.
///
/// # Errors
/// It cannot be had, is not what its id says, or holds what no source may.
pub fn fetch(
    url: &str,
    commit: &CommitId,
    beside: &Path,
    epoch: u64,
    inputs: &Inputs,
) -> Result<(SourceTar, Input), SourceError> {
    let scratch = inputs.scratch()?;
    let git = Git::new(scratch.path(), commit, is_path(url))?;
    let format = if commit.is_sha256() { "sha256" } else { "sha1" };
    git.run(&["init", "--quiet", "--bare", "--template=", &format!("--object-format={format}")])?;
    let from = match is_path(url) {
        true => beside.canonicalize().unwrap_or_else(|_| beside.to_owned()).join(url).into(),
        false => OsString::from(url),
    };
    git.fetch(&from)?;
    let kind = git.run(&["cat-file", "-t", commit.as_str()]).unwrap_or_default();
    if kind != b"commit\n" {
        return Err(git.failed("its branches and tags do not lead to it"));
    }
    let object = git.run(&["cat-file", "commit", commit.as_str()])?;
    let dir = scratch.path().join("tree");
    std::fs::create_dir(&dir).map_err(|e| SourceError::Io { path: dir.clone(), source: e })?;
    git.lay_out(&dir)?;
    let tar = pack_source(&Plan::of_directory(&dir)?, epoch, inputs)?;
    verify(&tar, commit, &object)?;
    let (_, blob) = inputs.add(&object[..])?;
    Ok((tar, Input { name: commit.input_name(), blob }))
}

/// Checks that a source tar is the tree of a commit, by every digest between the two.
///
/// # Errors
/// It is not.
pub fn verify(tar: &SourceTar, commit: &CommitId, object: &[u8]) -> Result<(), SourceError> {
    let wrong =
        |what: &str| SourceError::Commit { commit: commit.to_string(), what: what.to_owned() };
    if tree::object_id(commit, "commit", object) != commit.as_str() {
        return Err(wrong("what is kept as the commit has another id"));
    }
    let text = object.strip_prefix(b"tree ").unwrap_or_default();
    let named = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let found = tree::tree_id(&tar.path, commit)
        .map_err(|source| SourceError::Unpack { name: commit.input_name(), source })?;
    match found.as_bytes() == named {
        true => Ok(()),
        false => Err(wrong("its tree has another id than what the source holds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_runs_a_program_or_tells_a_secret_is_refused() {
        for good in ["https://example.org/a.git", "ssh://git@example.org/a", "../a", "/srv/a"] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in ["ext::sh -c id", "--upload-pack=id", "https://u:p@example.org/a", "a", "fd::7"]
        {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        assert!("HEAD".parse::<CommitId>().is_err());
        assert!("abcdef0".parse::<CommitId>().is_err());
        assert!("a".repeat(40).parse::<CommitId>().is_ok());
    }
}
