//! Signatures made with stock tools over a request's exact bytes: read, told apart, and verified.
//!
//! | tool | form |
//! |---|---|
//! | `minisign -S -l` | `.minisig`, legacy: Ed25519 |
//! | `signify -S` | a comment, then base64 of `Ed`, key number, 64 bytes |
//! | `openssl pkeyutl -sign -rawin` | 64 bytes of Ed25519; DER of ECDSA |
//! | `pkcs11-tool --sign` | 64 bytes of Ed25519; `r` and `s` of ECDSA, 32 bytes each |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_metadata::PublicKey;
use countersign_metadata::key::Algorithm;

use crate::{der, minisig};

/// Longest file of a signature, in bytes.
pub const MAX_RAW: u64 = 8192;

/// A file that is no signature by the key over the message.
#[derive(Debug, thiserror::Error)]
pub enum BadRaw {
    /// minisign without `-l` signs a hash of the message, which TUF does not know.
    #[error("it is a prehashed minisign signature")]
    Prehashed,
    /// Tools that sign something around the message.
    #[error("{0} signs more than the message itself")]
    Wrapped(&'static str),
    /// No form that is known.
    #[error("it is in no form that a signature of this kind of key has")]
    Form,
    /// Not over these bytes, or by another key.
    #[error("it is not by this key over exactly these bytes")]
    Other,
}

/// A signature by a stock tool that was verified. Born in [`RawSignature::verify`].
pub struct RawSignature {
    pub(crate) bytes: Vec<u8>,
    pub(crate) minisig: Option<String>,
}

impl RawSignature {
    /// Reads a file of a stock tool, and verifies that `key` signed exactly `message`.
    ///
    /// # Errors
    /// It is in no known form, or does not verify.
    pub fn verify(file: &[u8], key: &PublicKey, message: &[u8]) -> Result<Self, BadRaw> {
        let candidates = match std::str::from_utf8(file) {
            Ok(text) if text.starts_with("untrusted comment:") => vec![commented(text)?],
            Ok(text) if text.starts_with("-----BEGIN SSH SIGNATURE") => {
                return Err(BadRaw::Wrapped("ssh-keygen -Y"));
            }
            Ok(text) if text.starts_with("-----BEGIN PGP") => return Err(BadRaw::Wrapped("gpg")),
            _ => forms(file, key.algorithm()),
        };
        if candidates.is_empty() {
            return Err(BadRaw::Form);
        }
        let bytes = candidates.into_iter().find(|c| key.verify(message, c).is_ok());
        let bytes = bytes.ok_or(BadRaw::Other)?;
        // Kept as it is where it is a whole .minisig under the key's own number.
        let minisig = std::str::from_utf8(file).ok().filter(|t| {
            key.algorithm() == Algorithm::Ed25519 && minisig::verify(t, key, message).is_ok()
        });
        Ok(Self { bytes, minisig: minisig.map(str::to_owned) })
    }
}

/// The signature in a file of minisign or signify.
fn commented(text: &str) -> Result<Vec<u8>, BadRaw> {
    let line = text.lines().nth(1).unwrap_or_default();
    let raw = STANDARD.decode(line.trim()).map_err(|_| BadRaw::Form)?;
    match raw.as_slice() {
        [b'E', b'd', rest @ ..] if rest.len() == 72 => Ok(rest[8..].to_vec()),
        [b'E', b'D', ..] => Err(BadRaw::Prehashed),
        _ => Err(BadRaw::Form),
    }
}

/// What bare bytes may mean for a kind of key.
fn forms(file: &[u8], algorithm: Algorithm) -> Vec<Vec<u8>> {
    match algorithm {
        Algorithm::Ed25519 if file.len() == 64 => vec![file.to_vec()],
        Algorithm::Ed25519 => Vec::new(),
        Algorithm::P256 => {
            let whole = (8..=72).contains(&file.len()).then(|| file.to_vec());
            whole.into_iter().chain(der::ecdsa_halves(file)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stock_tools_sign_otherwise_is_refused_by_name() {
        let key = PublicKey::ed25519([7; 32]);
        let refused = |file: &[u8]| RawSignature::verify(file, &key, b"message").err().unwrap();
        let ssh = b"-----BEGIN SSH SIGNATURE-----\nAAAA\n";
        assert!(matches!(refused(ssh), BadRaw::Wrapped("ssh-keygen -Y")));
        assert!(matches!(refused(b"-----BEGIN PGP SIGNATURE-----\n"), BadRaw::Wrapped("gpg")));
        let line = |head: &[u8]| STANDARD.encode([head, &[0; 72]].concat());
        let prehashed = format!("untrusted comment: x\n{}\n", line(b"ED"));
        assert!(matches!(refused(prehashed.as_bytes()), BadRaw::Prehashed));
        let other = format!("untrusted comment: x\n{}\n", line(b"Ed"));
        assert!(matches!(refused(other.as_bytes()), BadRaw::Other));
        assert!(matches!(refused(&[0; 64]), BadRaw::Other));
        assert!(matches!(refused(&[0; 63]), BadRaw::Form));
    }
}
