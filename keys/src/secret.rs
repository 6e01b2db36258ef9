//! A secret key: it signs, and cannot be shown, copied or compared.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use countersign_metadata::PublicKey;
use countersign_metadata::key::BadSignature;
use zeroize::Zeroizing;

/// A key that cannot sign now.
#[derive(Debug, thiserror::Error)]
pub enum CannotSign {
    /// An agent or a token said no.
    #[error("{device} gave no signature: {reason}")]
    Refused {
        /// Which.
        device: String,
        /// What it said.
        reason: String,
    },
    /// What came back is not a signature by this key: nobody is to see it.
    #[error("what came back is no signature")]
    Wrong(#[from] BadSignature),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Something that signs with one key: a key pair in memory, an agent, a token. Each is one file.
pub(crate) trait Signer {
    /// A signature over exactly `message`, as the key's algorithm writes it.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign>;
}

/// A secret key with the label its holder gave it: in memory, or behind an agent or a token.
///
/// A secret in memory lies only inside AWS-LC, which clears what it frees. There is no way to print it:
///
/// ```compile_fail
/// fn shown(key: &countersign_keys::SecretKey) -> String { format!("{key:?}") }
/// ```
/// ```compile_fail
/// fn displayed(key: &countersign_keys::SecretKey) -> String { format!("{key}") }
/// ```
/// or to make a second one of it:
/// ```compile_fail
/// fn twin(key: &countersign_keys::SecretKey) -> countersign_keys::SecretKey { Clone::clone(key) }
/// ```
/// What can be had is its public half and signatures:
/// ```
/// fn public(key: &countersign_keys::SecretKey) -> String { format!("{:?}", key.public()) }
/// ```
pub struct SecretKey {
    public: PublicKey,
    label: String,
    minisign: bool,
    signer: Box<dyn Signer>,
}

impl SecretKey {
    /// The minisign key whose seed is `seed`, if its public half is `public`.
    pub(crate) fn from_seed(seed: &[u8; 32], public: PublicKey, label: String) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public.as_bytes()).ok()?;
        Some(Self { minisign: true, ..Self::new(public, label, pair) })
    }

    /// The key behind `signer`.
    pub(crate) fn new(public: PublicKey, label: String, signer: impl Signer + 'static) -> Self {
        Self { public, label, minisign: false, signer: Box::new(signer) }
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The holder's name for the key, from the key file's comment, the agent or the token; may be empty.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Whether it came from a minisign key file: only then is its key number one that stock minisign knows.
    pub fn is_minisign(&self) -> bool {
        self.minisign
    }

    /// Gives the key another name.
    #[must_use]
    pub fn labelled(mut self, label: &str) -> Self {
        label.clone_into(&mut self.label);
        self
    }

    /// A signature over exactly `message`, checked before anybody sees it: a faulty device could give the key away.
    ///
    /// Not public: what a key signs goes through a review, see [`crate::sign`].
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign> {
        let signature = self.signer.sign(message)?;
        self.public.verify(message, &signature)?;
        Ok(signature)
    }
}

impl Signer for Ed25519KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign> {
        Ok(Ed25519KeyPair::sign(self, message).as_ref().to_vec())
    }
}

impl Signer for EcdsaKeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CannotSign> {
        let signature = EcdsaKeyPair::sign(self, &SystemRandom::new(), message);
        Ok(signature.map_err(|_| CannotSign::Random)?.as_ref().to_vec())
    }
}

/// A password. No `Debug`, `Display` or `Clone`; cleared when dropped.
pub struct Password(Zeroizing<Vec<u8>>);

/// Longest password, in bytes; that of minisign.
pub const MAX_PASSWORD: usize = 1024;

impl Password {
    /// A password as it was typed. Empty ones and those above [`MAX_PASSWORD`] are none.
    pub fn new(text: Zeroizing<String>) -> Option<Self> {
        Self::from_line(text.as_bytes())
    }

    /// The first line of a file, without its end.
    pub fn from_file(content: &Zeroizing<Vec<u8>>) -> Option<Self> {
        let line = content.split(|b| *b == b'\n').next().unwrap_or_default();
        Self::from_line(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn from_line(line: &[u8]) -> Option<Self> {
        let fits = (1..=MAX_PASSWORD).contains(&line.len());
        fits.then(|| Self(Zeroizing::new(line.to_vec())))
    }

    /// Whether two passwords are the same (asked twice).
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Bytes that are cleared when dropped and never move, so that no copy stays behind on the stack.
pub(crate) type SecretBytes<const N: usize> = Box<Zeroizing<[u8; N]>>;

/// `N` zero bytes on the heap, to be filled with a secret.
pub(crate) fn secret_bytes<const N: usize>() -> SecretBytes<N> {
    Box::new(Zeroizing::new([0; N]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_and_never_empty() {
        let of = |text: &str| {
            Password::from_file(&Zeroizing::new(text.into())).map(|p| p.as_bytes().to_vec())
        };
        assert_eq!(of("secret\nmore\n").unwrap(), b"secret");
        assert_eq!(of("secret\r\n").unwrap(), b"secret");
        assert_eq!(of(" two words ").unwrap(), b" two words ");
        assert!(of("").is_none() && of("\nsecret").is_none());
        assert!(of(&"x".repeat(MAX_PASSWORD + 1)).is_none());
    }
}
