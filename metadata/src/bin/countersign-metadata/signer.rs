//! The signer command: a request on its standard input, a signature on its standard output.
//!
//! This program holds no secret. What the command says to people on standard error passes through.

use std::error::Error;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use countersign_metadata::authoring::OnlineSigner;
use countersign_metadata::request::{Signature, SigningRequest};

/// Longest answer that is read, in bytes: a signature with a verdict in it.
const MAX_ANSWER: u64 = 2 << 20;

/// A person may have to find a token and type a password.
const DEADLINE: Duration = Duration::from_secs(600);

/// A signer command.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    words: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Empty,
    Quote,
    Failed(String),
    Late,
    TooLong,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("the signer command is empty"),
            Self::Quote => f.write_str("a quote in the signer command is not closed"),
            Self::Failed(how) => write!(f, "the signer command ended with {how}"),
            Self::Late => write!(f, "the signer gave no answer in {} s", DEADLINE.as_secs()),
            Self::TooLong => f.write_str("the signer's answer is too long to be a signature"),
        }
    }
}

impl Error for Trouble {}

impl std::str::FromStr for Signer {
    type Err = Box<dyn Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { words: split(text)? })
    }
}

impl OnlineSigner for Signer {
    fn sign(
        &mut self,
        request: &SigningRequest,
    ) -> Result<Signature, Box<dyn Error + Send + Sync>> {
        let (program, arguments) = self.words.split_first().ok_or(Trouble::Empty)?;
        let request = serde_json::to_vec(request)?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| std::io::Error::new(error.kind(), format!("cannot run {program}")))?;
        let deadline = Instant::now() + DEADLINE;
        let answer = converse(&mut child, request, deadline);
        let ended = answer.and_then(|answer| Ok((answer, wait(&mut child, deadline)?)));
        if ended.is_err() {
            let _gone_already = child.kill();
            child.wait()?;
        }
        let (answer, status) = ended?;
        if !status.success() {
            return Err(Trouble::Failed(status.to_string()).into());
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

/// A signer that has answered but does not end is no better than one that does not answer.
fn wait(child: &mut Child, deadline: Instant) -> Result<ExitStatus, Trouble> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => return Err(Trouble::Late),
            Err(error) => return Err(Trouble::Failed(error.to_string())),
        }
    }
}

fn converse(child: &mut Child, request: Vec<u8>, deadline: Instant) -> Result<Vec<u8>, Trouble> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (send, receive) = mpsc::channel();
    // Own threads, so that neither a full pipe nor a signer that reads nothing can hold the deadline up.
    std::thread::spawn(move || {
        // A signer that needs no more of it may close its end: its answer tells.
        let _closed = stdin.map(|mut stdin| stdin.write_all(&request));
    });
    std::thread::spawn(move || {
        let mut answer = Vec::new();
        let read = stdout.map(|out| out.take(MAX_ANSWER + 1).read_to_end(&mut answer));
        let _nobody_waits = send.send(read.map(|_| answer));
    });
    match receive.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(Some(answer)) if answer.len() as u64 > MAX_ANSWER => Err(Trouble::TooLong),
        Ok(answer) => Ok(answer.unwrap_or_default()),
        Err(_) => Err(Trouble::Late),
    }
}

/// Splits a command line at white space; `'…'` and `"…"` hold words together, `\` takes the next character.
fn split(text: &str) -> Result<Vec<String>, Trouble> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().push(characters.next().ok_or(Trouble::Quote)?);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    match (quote, words.is_empty()) {
        (Some(_), _) => Err(Trouble::Quote),
        (None, true) => Err(Trouble::Empty),
        (None, false) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_as_people_quote_it() {
        let words = split(r#"keys sign  --key 'my key' "a \"b\"" c\ d ''"#).unwrap();
        assert_eq!(words, ["keys", "sign", "--key", "my key", "a \"b\"", "c d", ""]);
        assert_eq!(split("   "), Err(Trouble::Empty));
        assert_eq!(split("keys 'open"), Err(Trouble::Quote));
    }
}
