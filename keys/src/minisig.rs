//! `.minisig` files in minisign's legacy form: raw Ed25519 over the exact bytes, which is what TUF signs.
//!
//! ```text
//! untrusted comment: …
//! base64( "Ed" | number 8 | signature 64 )
//! trusted comment: …
//! base64( signature 64 over: the signature above | the trusted comment )
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_metadata::PublicKey;

use crate::SecretKey;
use crate::secret::CannotSign;

/// A `.minisig` that is not a signature by the key over the message.
#[derive(Debug, thiserror::Error)]
#[error("the minisig does not verify: {0}")]
pub struct BadMinisig(&'static str);

/// The `.minisig` text around `signature`, which `key` made over some message. `what` becomes the trusted
/// comment, on one line. `None`: the key is no minisign key.
pub(crate) fn text(
    key: &SecretKey,
    signature: &[u8],
    what: &str,
) -> Result<Option<String>, CannotSign> {
    if !key.is_minisign() {
        return Ok(None);
    }
    let what = crate::review::printable(what);
    let mut line = b"Ed".to_vec();
    line.extend_from_slice(&key.public().number());
    line.extend_from_slice(signature);
    let global = key.sign_bytes(&[signature, what.as_bytes()].concat())?;
    Ok(Some(format!(
        "untrusted comment: signature by {}\n{}\ntrusted comment: {what}\n{}\n",
        crate::label::number_text(key.public()),
        STANDARD.encode(line),
        STANDARD.encode(global)
    )))
}

/// Verifies a legacy `.minisig` over `message`, and gives its trusted comment.
///
/// # Errors
/// It is malformed, prehashed, by another key, or does not verify.
pub fn verify<'t>(text: &'t str, key: &PublicKey, message: &[u8]) -> Result<&'t str, BadMinisig> {
    let mut lines = text.lines();
    let mut next = || lines.next().ok_or(BadMinisig("it has fewer than four lines"));
    let (untrusted, signature, comment, global) = (next()?, next()?, next()?, next()?);
    // The stock tool refuses any other first line, so such a file is no use to anybody else.
    if !untrusted.starts_with(crate::label::COMMENT) {
        return Err(BadMinisig("it has no untrusted comment"));
    }
    let bytes = |line| STANDARD.decode(line).map_err(|_| BadMinisig("a line is not base64"));
    let signature = bytes(signature)?;
    let Some((b"Ed", rest)) = signature.split_first_chunk() else {
        return Err(BadMinisig("it is not in the legacy form (minisign -S -l)"));
    };
    let Some((number, raw)) = rest.split_first_chunk::<8>() else {
        return Err(BadMinisig("its signature is too short"));
    };
    if *number != key.number() {
        return Err(BadMinisig("it names another key number"));
    }
    let comment =
        comment.strip_prefix("trusted comment: ").ok_or(BadMinisig("it has no trusted comment"))?;
    key.verify(message, raw).map_err(|_| BadMinisig("its signature is not over these bytes"))?;
    key.verify(&[raw, comment.as_bytes()].concat(), &bytes(global)?)
        .map_err(|_| BadMinisig("its trusted comment is not signed"))?;
    Ok(comment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyfile::{KeyFile, Protection, generate};

    #[test]
    fn our_minisig_verifies_and_nothing_near_it_does() {
        let made = generate("alice", &Protection::WithoutPassword).unwrap();
        let key = KeyFile::parse(&made.secret).unwrap_or_else(|e| panic!("{e}"));
        let key = key.open(None).ok().unwrap();
        let signature = key.sign_bytes(b"message").unwrap();
        let minisig = text(&key, &signature, "root version 1").unwrap().unwrap();
        assert_eq!(verify(&minisig, key.public(), b"message").unwrap(), "root version 1");
        assert!(verify(&minisig, key.public(), b"other").is_err());
        let relabelled = minisig.replace("root version 1", "root version 2");
        assert!(verify(&relabelled, key.public(), b"message").is_err());
        let without_comment = minisig.replace("untrusted comment: ", "");
        assert!(verify(&without_comment, key.public(), b"message").is_err());
        assert!(minisign::SignatureBox::from_string(&without_comment).is_err());

        let theirs = minisign::SignatureBox::from_string(&minisig).unwrap();
        let public = minisign::PublicKey::from_base64(&made.key.to_string()).unwrap();
        let legacy = true;
        let message = std::io::Cursor::new(b"message");
        minisign::verify(&public, &theirs, message, true, false, legacy).unwrap();
    }
}
