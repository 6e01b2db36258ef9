//! Asks the signer command for a signature: request on its standard input, signature on its standard output.
//! The builder itself holds no secret.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use countersign_metadata::PublicKey;
use countersign_metadata::dsse::Envelope;
use countersign_metadata::request::{
    BadAnswer, Bytes, FORMAT, RequestSubject, Signature, SigningRequest,
};

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The command is empty or ends inside quotes.
    #[error("the signer command {0:?} is empty or has an open quote")]
    Malformed(String),
    /// It cannot be run.
    #[error("cannot run the signer command {program:?}")]
    Run {
        /// Its program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It said no.
    #[error("the signer command {0:?} refused to sign")]
    Refused(String),
    /// It answered with something else.
    #[error("the signer command {program:?} did not answer with a signature: {what}")]
    Answer {
        /// Its program.
        program: String,
        /// What is wrong.
        what: String,
    },
    /// Its signature is not over what was asked for.
    #[error("the signer's answer is not accepted")]
    Signature(#[from] BadAnswer),
    /// Another key signed than the statement names.
    #[error("the signer signed with {found:?}, but the statement names {wanted:?}")]
    OtherKey {
        /// Who signed.
        found: PublicKey,
        /// Who should have.
        wanted: PublicKey,
    },
}

/// Has `statement` signed by the key that it names itself, and puts both into an envelope.
///
/// # Errors
/// The command fails, or its answer is not a signature by `identity` over this statement.
pub fn sign(
    command: &str,
    statement: &[u8],
    identity: &PublicKey,
) -> Result<Envelope, SignerError> {
    let words = split(command).ok_or_else(|| SignerError::Malformed(command.to_owned()))?;
    let Some((program, arguments)) = words.split_first() else {
        return Err(SignerError::Malformed(command.to_owned()));
    };
    let request = SigningRequest {
        format: FORMAT,
        subject: RequestSubject::Statement { payload: Bytes(statement.to_vec()) },
    };
    let message = request.message();
    let answer = ask(program, arguments, &request)?;
    let signature: Signature = serde_json::from_slice(&answer)
        .map_err(|e| SignerError::Answer { program: program.clone(), what: e.to_string() })?;
    let signature = signature.verify(&message)?;
    let Signature { key, signature, .. } = signature.get();
    if key != identity {
        return Err(SignerError::OtherKey { found: *key, wanted: *identity });
    }
    Ok(Envelope::new(statement, &key.id(), signature))
}

fn ask(
    program: &str,
    arguments: &[String],
    request: &SigningRequest,
) -> Result<Vec<u8>, SignerError> {
    let failed = |source| SignerError::Run { program: program.to_owned(), source };
    let text = serde_json::to_vec(request)
        .map_err(|e| SignerError::Answer { program: program.to_owned(), what: e.to_string() })?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let stdin = child.stdin.take();
    // A signer may answer before it has read everything, so both ends move at once.
    let writer = std::thread::spawn(move || {
        let _hung_up = stdin.map(|mut stdin| stdin.write_all(&text));
    });
    let mut answer = Vec::new();
    let read = child.stdout.take().map(|out| out.take(MAX_ANSWER).read_to_end(&mut answer));
    let status = child.wait().map_err(failed)?;
    let _finished = writer.join();
    read.transpose().map_err(failed)?;
    if status.success() {
        return Ok(answer);
    }
    Err(SignerError::Refused(program.to_owned()))
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
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use countersign_metadata::Sha256;

    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(split("a 'b c'  d\"e f\" ''").unwrap(), ["a", "b c", "de f", ""]);
        assert_eq!(split("a 'b"), None);
    }

    #[test]
    fn a_signature_is_taken_from_the_named_key_over_this_statement_only() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
        let raw = pair.public_key().as_ref().try_into().unwrap();
        let key = PublicKey::from_parts([1; 8], raw);
        let statement = b"{}".to_vec();
        let subject = RequestSubject::Statement { payload: Bytes(statement.clone()) };
        let message = SigningRequest { format: FORMAT, subject }.message();
        let answer = Signature {
            format: FORMAT,
            message: Sha256::of(&message),
            key,
            label: String::new(),
            signature: pair.sign(&message).as_ref().to_vec(),
            minisig: None,
            rebuilt: None,
            waiver: None,
            vouched: None,
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), serde_json::to_vec(&answer).unwrap()).unwrap();
        let command = format!("cat '{}'", file.path().display());

        let envelope = sign(&command, &statement, &key).unwrap();
        assert_eq!(envelope.verify(&key).unwrap(), statement);
        let error = sign(&command, b"{ }", &key).unwrap_err();
        assert!(matches!(error, SignerError::Signature(_)), "{error}");
        let other = PublicKey::from_parts([1; 8], [7; 32]);
        let error = sign(&command, &statement, &other).unwrap_err();
        assert!(matches!(error, SignerError::OtherKey { .. }), "{error}");
    }

    #[test]
    fn a_signer_that_refuses_or_answers_nonsense_gives_no_signature() {
        let key = PublicKey::from_parts([0; 8], [7; 32]);
        assert!(matches!(sign("false", b"x", &key), Err(SignerError::Refused(_))));
        assert!(matches!(sign("echo {}", b"x", &key), Err(SignerError::Answer { .. })));
        assert!(matches!(sign("no-such-signer", b"x", &key), Err(SignerError::Run { .. })));
        assert!(matches!(sign(" ", b"x", &key), Err(SignerError::Malformed(_))));
    }
}
