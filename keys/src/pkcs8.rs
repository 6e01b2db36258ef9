//! PKCS#8 key files in PEM, as `openssl genpkey` writes them: Ed25519 and P-256, open or sealed with PBES2.
//!
//! ```text
//! -----BEGIN PRIVATE KEY-----              open
//! -----BEGIN ENCRYPTED PRIVATE KEY-----    sealed: PBKDF2 or scrypt, then AES-CBC or AES-GCM
//! ```

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use countersign_metadata::PublicKey;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use crate::keyfile::BadKeyFile;
use crate::secret::{Password, SecretKey};

/// What PEM begins with.
pub const BEGIN: &str = "-----BEGIN ";
const OPEN: &str = "PRIVATE KEY";
const SEALED: &str = "ENCRYPTED PRIVATE KEY";
/// A file may ask for no more: its limits are read before anything is proven. OpenSSL asks for 2,048 rounds by
/// default, and for as many as it is told.
const MAX_ROUNDS: u32 = 10_000_000;
/// What scrypt may take, in bytes: as much as for a minisign key.
const MAX_MEMORY: u64 = 1 << 30;
const MAX_PARALLEL: u16 = 16;

/// A key file as it lies on disk: perhaps sealed.
pub struct PemKey {
    der: SecretDocument,
    sealed: bool,
}

impl PemKey {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// It is no PKCS#8.
    pub fn parse(text: &str) -> Result<Self, BadKeyFile> {
        let (label, der) = SecretDocument::from_pem(text).map_err(|_| {
            // The label may be told; the rest may be a secret.
            let label = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once("-----"));
            match label {
                Some((label, _)) if label != OPEN && label != SEALED => other(label),
                _ => BadKeyFile::Corrupt,
            }
        })?;
        match label {
            OPEN => Ok(Self { der, sealed: false }),
            SEALED => Ok(Self { der, sealed: true }),
            label => Err(other(label)),
        }
    }

    /// Whether a password is needed.
    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The secret key. A password is used only where the file is sealed.
    ///
    /// # Errors
    /// The password is missing or wrong, or the key is of another kind.
    pub fn open(self, password: Option<&Password>) -> Result<SecretKey, BadKeyFile> {
        if !self.sealed {
            return key(self.der.as_bytes()).ok_or(BadKeyFile::Kind);
        }
        let password = password.ok_or(BadKeyFile::NeedsPassword)?;
        let sealed = EncryptedPrivateKeyInfoRef::try_from(self.der.as_bytes())
            .map_err(|_| BadKeyFile::Algorithm("password derivation or cipher"))?;
        strength(&sealed.encryption_algorithm)?;
        let mut buffer = Zeroizing::new(sealed.encrypted_data.as_bytes().to_vec());
        let opened = sealed
            .encryption_algorithm
            .decrypt_in_place(password.as_bytes(), &mut buffer)
            .map_err(|_| BadKeyFile::WrongPassword)?;
        // A wrong password can leave padding that looks right: then what comes out is no key.
        if SecretDocument::try_from(opened).is_err() {
            return Err(BadKeyFile::WrongPassword);
        }
        key(opened).ok_or(BadKeyFile::Kind)
    }
}

fn other(label: &str) -> BadKeyFile {
    BadKeyFile::OtherPem(label.chars().take(40).collect())
}

fn strength(scheme: &EncryptionScheme) -> Result<(), BadKeyFile> {
    let kdf = &scheme.pbes2().ok_or(BadKeyFile::Algorithm("password derivation"))?.kdf;
    let rounds = kdf.pbkdf2().map_or(0, |p| p.iteration_count);
    let scrypt = kdf.scrypt().is_none_or(|p| {
        let memory = p.cost_parameter.checked_mul(u64::from(p.block_size) * 128);
        memory.is_some_and(|m| m <= MAX_MEMORY) && p.parallelization <= MAX_PARALLEL
    });
    if rounds <= MAX_ROUNDS && scrypt { Ok(()) } else { Err(BadKeyFile::Strength) }
}

fn key(der: &[u8]) -> Option<SecretKey> {
    // "maybe unchecked": OpenSSL writes no public half beside the seed.
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        let public = PublicKey::ed25519(pair.public_key().as_ref().try_into().ok()?);
        return Some(SecretKey::new(public, String::new(), pair));
    }
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).ok()?;
    let public = PublicKey::p256(pair.public_key().as_ref()).ok()?;
    Some(SecretKey::new(public, String::new(), pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_pkcs8_is_refused_by_its_name() {
        let sec1 = "-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n";
        let ssh = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n";
        for text in [sec1, ssh] {
            assert!(matches!(PemKey::parse(text).err(), Some(BadKeyFile::OtherPem(_))), "{text}");
        }
        let noise = "-----BEGIN PRIVATE KEY-----\n!!!\n-----END PRIVATE KEY-----\n";
        assert!(matches!(PemKey::parse(noise).err(), Some(BadKeyFile::Corrupt)));
        let empty = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        let opened = PemKey::parse(empty).ok().unwrap().open(None);
        assert!(matches!(opened.err(), Some(BadKeyFile::Kind)));
    }
}
