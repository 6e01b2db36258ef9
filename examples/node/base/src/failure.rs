//! Why the node stops: an exit code and a sentence for its operator.

use std::fmt::{self, Display};
use std::io::{self, Write};

/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// The state or another input is not what it should be.
pub(crate) const INPUT: u8 = 3;
/// The machine refused something.
pub(crate) const HOST: u8 = 7;
/// Another process holds the state; trying again can help.
pub(crate) const BUSY: u8 = 8;

/// The result of everything that can stop the node.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// An exit code with its sentence.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    sentence: String,
}

impl Failure {
    pub(crate) fn new(code: u8, sentence: impl Display) -> Self {
        Self { code, sentence: sentence.to_string() }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Says what was being done when the machine refused it.
pub(crate) trait OrFail<T> {
    /// `doing` continues "cannot".
    fn or_fail(self, doing: impl Display) -> Outcome<T>;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, doing: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure::new(HOST, format!("cannot {doing}: {error}")))
    }
}

/// A line to the log. A closed standard error is no reason to stop serving.
pub(crate) fn tell(line: &str) {
    let _closed = writeln!(io::stderr().lock(), "examplenode: {line}");
}

/// A line to whoever asked.
pub(crate) fn answer(line: &str) {
    let _closed = writeln!(io::stdout().lock(), "{line}");
}
