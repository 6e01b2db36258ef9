//! Keys in an SSH agent, over its protocol (draft-ietf-sshm-ssh-agent): list the keys, sign bytes.
//!
//! Why not `ssh-agent-lib`? It brings an async runtime for two messages of a few fields each.

#![expect(
    clippy::disallowed_types,
    reason = "the agent's local socket is this room's one door: it leads to the keyholder's own keys"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_metadata::PublicKey;
use countersign_metadata::key::Algorithm;

use crate::der;
use crate::label::{check, ssh_fingerprint};
use crate::secret::{CannotSign, SecretKey, Signer};

const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// OpenSSH's agent takes and gives no longer messages, in bytes.
const MAX_MESSAGE: usize = 256 << 10;
/// A person may have to touch a token or say yes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Which of the agent's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The one with this fingerprint, as `ssh-add -l` prints it: `SHA256:…`.
    Fingerprint(String),
    /// This one.
    Key(PublicKey),
}

/// An agent that is of no help.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Nobody listens.
    #[error("no agent answers at {socket}")]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It answers something else than the protocol says.
    #[error("the agent's answer is not what its protocol says")]
    Protocol,
    /// It does not hold the key.
    #[error("the agent does not hold this key; it holds {0}")]
    Missing(String),
}

/// The key in the agent at `socket`.
///
/// # Errors
/// There is no agent, or it does not hold the key.
pub fn open(socket: &Path, wanted: &Wanted) -> Result<SecretKey, AgentError> {
    let answer = exchange(socket, &[REQUEST_IDENTITIES])?;
    let held = identities(&answer).ok_or(AgentError::Protocol)?;
    let found = held.iter().find(|(key, _)| match wanted {
        Wanted::Key(wanted) => key == wanted,
        Wanted::Fingerprint(wanted) => ssh_fingerprint(key) == *wanted,
    });
    let Some((public, comment)) = found else {
        let all: Vec<_> = held.iter().map(|(key, _)| ssh_fingerprint(key)).collect();
        let none = "no Ed25519 or P-256 key".to_owned();
        return Err(AgentError::Missing(if all.is_empty() { none } else { all.join(", ") }));
    };
    let label = if check(comment).is_ok() { comment.clone() } else { String::new() };
    let signer = InAgent { socket: socket.to_owned(), key: *public };
    Ok(SecretKey::new(*public, label, signer))
}

struct InAgent {
    socket: PathBuf,
    key: PublicKey,
}

impl Signer for InAgent {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign> {
        let refused =
            |reason: String| CannotSign::Refused { device: "the SSH agent".to_owned(), reason };
        let mut request = vec![SIGN_REQUEST];
        for part in [&self.key.to_ssh_blob()[..], message] {
            put(&mut request, part).ok_or_else(|| refused("the request is too long".to_owned()))?;
        }
        // Flags: none. They choose among the hashes of RSA.
        request.extend_from_slice(&[0; 4]);
        if request.len() > MAX_MESSAGE {
            let size = message.len();
            return Err(refused(format!("agents take no {size} bytes at once")));
        }
        let answer = exchange(&self.socket, &request).map_err(|e| refused(e.to_string()))?;
        signature(&answer, self.key.algorithm())
            .ok_or_else(|| refused("it declined, or answered something else".to_owned()))
    }
}

fn exchange(socket: &Path, request: &[u8]) -> Result<Vec<u8>, AgentError> {
    let told = |source| AgentError::Unreachable { socket: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(told)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
    let mut framed = Vec::new();
    put(&mut framed, request).ok_or(AgentError::Protocol)?;
    stream.write_all(&framed).map_err(told)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(told)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(1..=MAX_MESSAGE).contains(&length) {
        return Err(AgentError::Protocol);
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).map_err(told)?;
    Ok(answer)
}

/// The keys in an answer that we know, each with its comment. Others are passed over.
fn identities(answer: &[u8]) -> Option<Vec<(PublicKey, String)>> {
    let (kind, rest) = answer.split_first()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    if *kind != IDENTITIES {
        return None;
    }
    let mut keys = Vec::new();
    for _ in 0..u32::from_be_bytes(*count) {
        let blob = take(&mut rest)?;
        let comment = take(&mut rest)?;
        if let Ok(key) = PublicKey::from_ssh_blob(blob) {
            keys.push((key, String::from_utf8_lossy(comment).into_owned()));
        }
    }
    Some(keys)
}

/// The signature in an answer: RFC 8709 §6 for Ed25519, RFC 5656 §3.1.2 for P-256.
fn signature(answer: &[u8], algorithm: Algorithm) -> Option<Vec<u8>> {
    let (kind, mut rest) = answer.split_first()?;
    if *kind != SIGN_RESPONSE {
        return None;
    }
    let mut blob = take(&mut rest)?;
    let name = take(&mut blob)?;
    let mut raw = take(&mut blob)?;
    match algorithm {
        Algorithm::Ed25519 if name == b"ssh-ed25519" => Some(raw.to_vec()),
        Algorithm::P256 if name == b"ecdsa-sha2-nistp256" => {
            der::ecdsa(take(&mut raw)?, take(&mut raw)?)
        }
        _ => None,
    }
}

fn put(out: &mut Vec<u8>, string: &[u8]) -> Option<()> {
    out.extend_from_slice(&u32::try_from(string.len()).ok()?.to_be_bytes());
    out.extend_from_slice(string);
    Some(())
}

fn take<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (string, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(string)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_of_keys_is_read_and_strange_keys_are_passed_over() {
        let key = PublicKey::ed25519([7; 32]);
        let mut answer = vec![IDENTITIES, 0, 0, 0, 2];
        for part in [&b"\0\0\0\x07ssh-rsa"[..], b"old", &key.to_ssh_blob(), b"alice"] {
            put(&mut answer, part).unwrap();
        }
        assert_eq!(identities(&answer).unwrap(), [(key, "alice".to_owned())]);
        answer[4] = 3;
        assert!(identities(&answer).is_none());
    }

    proptest! {
        #[test]
        fn no_answer_of_an_agent_makes_us_panic(kind in 11u8..15, rest: Vec<u8>) {
            let answer = [&[kind][..], &rest].concat();
            let _keys = identities(&answer);
            let _signatures = [Algorithm::Ed25519, Algorithm::P256].map(|a| signature(&answer, a));
        }
    }
}
