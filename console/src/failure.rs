//! Why a command did not succeed: an exit code, one sentence, and a hint.

use std::error::Error;
use std::fmt::Display;

/// The exit codes, the same in all programs and listed at the end of each `--help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, and the answer is yes.
    Done = 0,
    /// The command worked and its verdict is no: diverged, refused, incomplete, expiring.
    Verdict = 1,
    /// The command line makes no sense (clap uses the same code).
    Usage = 2,
    /// An input is missing or malformed.
    Input = 3,
    /// A secret is missing, locked, or the password is wrong.
    Secret = 4,
    /// A mirror or peer cannot be reached; trying again can help.
    Network = 5,
    /// Bytes are not what was signed, or not signed enough. Nothing was trusted.
    Untrusted = 6,
    /// The machine lacks something: a kernel feature, a permission, a free port, disk space.
    Host = 7,
    /// Somebody else holds the lock; trying again can help.
    Busy = 8,
}

impl Exit {
    /// The table at the end of every `--help`.
    pub const TABLE: &'static str = "\
Exit codes:
  0  done
  1  the verdict is no (diverged, refused, incomplete, expiring)
  2  the command line makes no sense
  3  an input is missing or malformed
  4  a secret is missing or its password is wrong
  5  a mirror or peer cannot be reached (trying again can help)
  6  verification failed; nothing was trusted
  7  the machine lacks something (kernel feature, permission, port, space)
  8  another process holds the lock (trying again can help)";
}

/// A failed command, told to a person: a sentence that a stranger understands, and a hint.
#[derive(Debug)]
pub struct Failure {
    pub(crate) exit: Exit,
    pub(crate) sentence: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure with its sentence, without a full stop.
    pub fn new(exit: Exit, sentence: impl Display) -> Self {
        Self { exit, sentence: sentence.to_string(), hint: None }
    }

    /// A failure whose sentence is `what` followed by the error and every source below it.
    pub fn caused(exit: Exit, what: impl Display, cause: &(dyn Error + 'static)) -> Self {
        let mut sentence = what.to_string();
        let mut next = Some(cause);
        while let Some(error) = next {
            let text = error.to_string();
            if !sentence.contains(&text) {
                sentence.push_str(": ");
                sentence.push_str(&text);
            }
            next = error.source();
        }
        Self { exit, sentence, hint: None }
    }

    /// The same with a hint: what the reader can do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The exit code this failure ends the program with.
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// What went wrong, in a sentence.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }
}

/// Attaches an exit code and a sentence to any error on its way up to `main`.
pub trait Hint<T> {
    /// `what` says what was being done; the error's own text and its sources follow it.
    ///
    /// # Errors
    /// The error itself, told as a [`Failure`].
    fn or_fail(self, exit: Exit, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> Hint<T> for Result<T, E> {
    fn or_fail(self, exit: Exit, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::caused(exit, what, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_with_all_its_sources() {
        let inner = std::io::Error::other("disk is full");
        let failure = Failure::caused(Exit::Host, "cannot write the journal", &inner);
        assert_eq!(failure.sentence, "cannot write the journal: disk is full");
        assert_eq!(failure.exit(), Exit::Host);
    }
}
