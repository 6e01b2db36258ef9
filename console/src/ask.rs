//! Another program as a function: bytes on its standard input, bytes from its standard output.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The command is empty or ends inside quotes.
    #[error("the command {0:?} is empty or has an open quote")]
    Malformed(String),
    /// It cannot be run.
    #[error("cannot run the command {program:?}")]
    Run {
        /// Its program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It said no.
    #[error("the command {0:?} refused")]
    Refused(String),
}

/// Runs `command` with `question`, and returns the first MiB of what it answers. What it says to people goes where
/// this program's own words go. Words are split at white space; single and double quotes hold words together.
///
/// # Errors
/// It cannot be run, or did not end with success.
pub fn ask(command: &str, question: &[u8]) -> Result<Vec<u8>, AskError> {
    let malformed = || AskError::Malformed(command.to_owned());
    let words = split(command).ok_or_else(malformed)?;
    let (program, arguments) = words.split_first().ok_or_else(malformed)?;
    let failed = |source| AskError::Run { program: program.clone(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let (stdin, question) = (child.stdin.take(), question.to_vec());
    // It may answer before it has read everything, so both ends move at once.
    let writer = std::thread::spawn(move || {
        let _hung_up = stdin.map(|mut stdin| stdin.write_all(&question));
    });
    let mut answer = Vec::new();
    let read = child.stdout.take().map(|out| out.take(MAX_ANSWER).read_to_end(&mut answer));
    let status = child.wait().map_err(failed)?;
    let _finished = writer.join();
    read.transpose().map_err(failed)?;
    if status.success() { Ok(answer) } else { Err(AskError::Refused(program.clone())) }
}

/// Splits on white space; single and double quotes hold words together. `None` for an open quote.
fn split(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in command.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '\'' || c == '"' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split("a 'b c'  d\"e f\" ''").unwrap(), ["a", "b c", "de f", ""]);
        assert_eq!(split("a 'b"), None);
    }

    #[test]
    fn a_program_answers_refuses_or_cannot_be_run() {
        assert_eq!(ask("tr a-z A-Z", b"question").unwrap(), b"QUESTION");
        assert!(matches!(ask("false", b"x"), Err(AskError::Refused(_))));
        assert!(matches!(ask("no-such-program", b"x"), Err(AskError::Run { .. })));
        assert!(matches!(ask(" ", b"x"), Err(AskError::Malformed(_))));
    }
}
