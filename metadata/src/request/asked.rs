//! A statement, signed by whoever is asked: the caller says how to ask.

use super::{BadAnswer, Bytes, FORMAT, RequestSubject, Signature, SigningRequest};
use crate::PublicKey;
use crate::dsse::Envelope;

/// Why there is no signed statement.
#[derive(Debug, thiserror::Error)]
pub enum NotSigned<E: std::error::Error + 'static> {
    /// Nobody answered.
    #[error(transparent)]
    Ask(E),
    /// What came is no signature.
    #[error("the signer did not answer with a signature")]
    Malformed(#[source] serde_json::Error),
    /// It is not over what was asked for.
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

/// Has `statement` signed by the key that it names itself, and puts both into an envelope. `ask` carries a request, as
/// JSON, to a signer, and its answer back.
///
/// # Errors
/// `ask` fails, or the answer is not a signature by `identity` over this statement.
pub fn signed_statement<E: std::error::Error + 'static>(
    statement: &[u8],
    identity: &PublicKey,
    ask: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Envelope, NotSigned<E>> {
    let subject = RequestSubject::Statement { payload: Bytes(statement.to_vec()) };
    let request = SigningRequest { format: FORMAT, subject };
    let text = serde_json::to_vec(&request).map_err(NotSigned::Malformed)?;
    let answer = ask(&text).map_err(NotSigned::Ask)?;
    let signature: Signature = serde_json::from_slice(&answer).map_err(NotSigned::Malformed)?;
    let signature = signature.verify(&request.message())?;
    let Signature { key, signature, .. } = signature.get();
    if key != identity {
        return Err(NotSigned::OtherKey { found: *key, wanted: *identity });
    }
    Ok(Envelope::new(statement, &key.id(), signature))
}
