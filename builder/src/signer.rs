//! Asks the signer command for a signature: request on its standard input, signature on its standard output.
//! The builder itself holds no secret.

use countersign_console::{AskError, ask};
use countersign_metadata::PublicKey;
use countersign_metadata::dsse::Envelope;
use countersign_metadata::request::{NotSigned, signed_statement};

/// Why there is no signature.
pub type SignerError = NotSigned<AskError>;

/// Has `statement` signed by the key that it names itself, and puts both into an envelope.
///
/// # Errors
/// The command fails, or its answer is not a signature by `identity` over this statement.
pub fn sign(
    command: &str,
    statement: &[u8],
    identity: &PublicKey,
) -> Result<Envelope, SignerError> {
    signed_statement(statement, identity, |request| ask(command, request))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use countersign_metadata::Sha256;
    use countersign_metadata::request::{Bytes, FORMAT, RequestSubject, Signature, SigningRequest};

    use super::*;

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
        let refused = sign("false", b"x", &key);
        assert!(matches!(refused, Err(SignerError::Ask(AskError::Refused(_)))));
        assert!(matches!(sign("echo {}", b"x", &key), Err(SignerError::Malformed(_))));
    }
}
