//! Why bytes did not come.

use std::io;
use std::time::Duration;

/// Why bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No connection, or no answer.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An answer, but not the file.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The answer.
        status: u16,
        /// How long the server asked to be left alone, if it did.
        retry_after: Option<Duration>,
    },
    /// A part of the file, but not the part that was asked for.
    #[error("{url} answered with another range than the one from byte {from}")]
    OtherRange {
        /// What was asked for.
        url: String,
        /// The first byte asked for.
        from: u64,
    },
    /// More bytes than allowed: endless, or not what it should be.
    #[error("{url} is longer than the {max} bytes allowed")]
    TooLong {
        /// What was asked for.
        url: String,
        /// The limit.
        max: u64,
    },
    /// The connection ended, or stood still, midway.
    #[error("{url} was cut off after {after} bytes")]
    CutOff {
        /// What was asked for.
        url: String,
        /// Bytes that came.
        after: u64,
        /// Why.
        source: io::Error,
    },
    /// It came, but so slowly that another mirror is the better choice.
    #[error("{url} is too slow: it was given up after {after} bytes")]
    TooSlow {
        /// What was asked for.
        url: String,
        /// Bytes that came.
        after: u64,
    },
    /// A path that leaves the repository.
    #[error("{0:?} is not a path inside a repository")]
    BadPath(String),
}

impl NetError {
    /// Whether trying again can help.
    pub fn retry(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::CutOff { .. } | Self::TooSlow { .. } => true,
            Self::Status { status, .. } => matches!(status, 403 | 408 | 429 | 500..=599),
            Self::TooLong { .. } | Self::OtherRange { .. } | Self::BadPath(_) => false,
        }
    }
}
