//! Why a sandbox could not be made, or was lost.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A sandbox that did not start, or that was lost. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel, or the caller's rights, lack a protection that this sandbox needs. Nothing was run:
    /// there is no weaker mode.
    #[error("this machine lacks {capability}: {reason}")]
    Missing {
        /// The name as [`capabilities`](crate::capabilities) lists it.
        capability: String,
        /// What is missing, and what would bring it.
        reason: String,
    },
    /// A mount could not be made as asked for.
    #[error("cannot mount {}", path.display())]
    Mount {
        /// The path inside the sandbox, or outside where that is what was wrong.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory given as [`Mount::Writable`](crate::Mount::Writable) could not be given to the payload
    /// or handed back.
    #[error("cannot give the scratch directory {} to the payload, or take it back", path.display())]
    Owner {
        /// The path outside the sandbox.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Less space was left than [`Sandbox::keep_free`](crate::Sandbox::keep_free) says; the payload was killed.
    #[error("the file system of the scratch directory {} is nearly full", path.display())]
    Full {
        /// The path outside the sandbox.
        path: PathBuf,
        /// How much was left.
        source: io::Error,
    },
    /// The payload's program could not be executed.
    #[error("cannot execute {} in the sandbox", path.display())]
    Program {
        /// The program, as given.
        path: PathBuf,
        /// What the kernel said; `NotFound` is also a missing interpreter or loader.
        source: io::Error,
    },
    /// The caller's description makes no sense.
    #[error("a sandbox cannot be described so: {what}")]
    Description {
        /// The mistake.
        what: String,
    },
    /// A socket inside the sandbox's network could not be made or connected.
    #[error("cannot reach {address} in the sandbox")]
    Network {
        /// The address, inside the sandbox.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another step of the set-up failed.
    #[error("cannot set the sandbox up: {step}")]
    Setup {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The sandbox's own first process went away without a report; all of the sandbox ended with it.
    #[error("the sandbox was lost: its first process ended without a report")]
    Lost,
}

/// An [`Error`] on its way from a stage to the caller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) what: String,
    pub(crate) errno: Option<i32>,
    pub(crate) text: String,
}

/// Which [`Error`] a [`Failure`] becomes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Kind {
    Missing,
    Mount,
    Owner,
    Full,
    Program,
    Network,
    Setup,
}

/// What the stages of the sandbox return.
pub(crate) type Staged<T> = Result<T, Failure>;

impl Failure {
    /// A protection that is missing, by name.
    pub(crate) fn missing(capability: &str, reason: impl Into<String>) -> Self {
        Self { kind: Kind::Missing, what: capability.to_owned(), errno: None, text: reason.into() }
    }

    /// A failure of the kind about `what`.
    pub(crate) fn new(kind: Kind, what: impl Into<String>, source: &io::Error) -> Self {
        Self { kind, what: what.into(), errno: source.raw_os_error(), text: source.to_string() }
    }
}

/// Attaches what was being done to a kernel's error.
pub(crate) trait Step<T> {
    /// A failed step of the set-up.
    fn step(self, step: &str) -> Staged<T>;
    /// A failure of another kind.
    fn fail(self, kind: Kind, what: impl Into<String>) -> Staged<T>;
    /// A step which fails only where a protection is missing.
    fn needs(self, capability: &str) -> Staged<T>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: &str) -> Staged<T> {
        self.fail(Kind::Setup, step)
    }

    fn fail(self, kind: Kind, what: impl Into<String>) -> Staged<T> {
        self.map_err(|error| Failure::new(kind, what, &error.into()))
    }

    fn needs(self, capability: &str) -> Staged<T> {
        self.map_err(|error| Failure::missing(capability, error.into().to_string()))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let Failure { kind, what, errno, text } = failure;
        let source = match errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(text.clone()),
        };
        match kind {
            Kind::Missing => Self::Missing { capability: what, reason: text },
            Kind::Mount => Self::Mount { path: what.into(), source },
            Kind::Owner => Self::Owner { path: what.into(), source },
            Kind::Full => Self::Full { path: what.into(), source },
            Kind::Program => Self::Program { path: what.into(), source },
            Kind::Network => Self::Network { address: what, source },
            Kind::Setup => Self::Setup { step: what, source },
        }
    }
}
