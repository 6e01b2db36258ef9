//! The agent's side of the supervisor's socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::protocol::{MAX_LINE, Reply, Request, Status};
use crate::Home;

/// Why nothing was answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no supervisor answers on {path}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The conversation broke off.
    #[error("the supervisor on {path} did not answer")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It said something else.
    #[error("the supervisor on {path} said something that this version does not know")]
    Unknown {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It said no.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// Whether the node itself is the reason.
        by_node: bool,
    },
}

/// Asks the supervisor of a node.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
}

/// How much longer than the request itself an answer may take.
const MARGIN: Duration = Duration::from_secs(20);

/// The longest stop-grace that a release may ask for.
const LONGEST_GRACE: Duration = Duration::from_mins(10);

impl Client {
    /// The client for a node directory. Nothing is opened yet.
    pub fn new(home: &Home) -> Self {
        Self { path: home.supervisor_socket() }
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// Nobody answers, or the answer is no.
    pub fn ask(&self, request: Request) -> Result<Reply, ClientError> {
        let time = MARGIN
            + match request {
                Request::Start { ready_ms } | Request::HandOver { ready_ms } => {
                    Duration::from_millis(ready_ms)
                }
                Request::Stop { .. } => LONGEST_GRACE,
                _ => Duration::ZERO,
            };
        let mut stream = UnixStream::connect(&self.path)
            .map_err(|source| ClientError::Unreachable { path: self.path.clone(), source })?;
        let unknown = |source| ClientError::Unknown { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(&request).map_err(unknown)?;
        line.push(b'\n');
        let mut answer = String::new();
        stream
            .set_read_timeout(Some(time))
            .and_then(|()| stream.set_write_timeout(Some(MARGIN)))
            .and_then(|()| stream.write_all(&line))
            .and_then(|()| BufReader::new(stream.take(MAX_LINE)).read_line(&mut answer))
            .and_then(
                |n| if n == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) },
            )
            .map_err(|source| ClientError::Broken { path: self.path.clone(), source })?;
        match serde_json::from_str(&answer).map_err(unknown)? {
            Reply::Refused { reason, by_node } => Err(ClientError::Refused { reason, by_node }),
            reply => Ok(reply),
        }
    }

    /// How the node is.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn status(&self) -> Result<Status, ClientError> {
        match self.ask(Request::Status)? {
            Reply::Status(status) => Ok(*status),
            _ => Err(ClientError::Refused {
                reason: "the supervisor answered another question".to_owned(),
                by_node: false,
            }),
        }
    }
}
