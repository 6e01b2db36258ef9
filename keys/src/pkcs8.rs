//! PKCS#8 key files in PEM, as `openssl genpkey` writes them: Ed25519 and P-256, open or sealed with PBES2.
//!
//! ```text
//! -----BEGIN PRIVATE KEY-----              open
//! -----BEGIN ENCRYPTED PRIVATE KEY-----    sealed: PBKDF2 or scrypt, then AES-CBC or AES-GCM
//! ```

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use countersign_metadata::PublicKey;
use pkcs8::der::ErrorKind;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Parameters;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

use crate::keyfile::{BadKeyFile, NewKey, Protection};
use crate::label::{check, public_text};
use crate::secret::{Password, SecretKey, secret_bytes};

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
/// What a new key is sealed with: log2(N), r, p of scrypt. OpenSSL reads no file that asks for 32 MiB, so the work
/// lies in p.
const SCRYPT: (u8, u32, u32) = (14, 8, 16);
/// `PrivateKeyInfo` of a P-256 key up to its number (RFC 5208, RFC 5915): the whole is 67 bytes.
const P256: &[u8] = &[
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

/// Makes a P-256 key pair.
///
/// # Errors
/// The label breaks its line, or the system gives no random bytes.
pub fn generate_p256(label: &str, protection: &Protection<'_>) -> Result<NewKey, BadKeyFile> {
    check(label)?;
    let mut der = secret_bytes::<67>();
    der[..35].copy_from_slice(P256);
    rand::fill(&mut der[35..]).map_err(|_| BadKeyFile::Random)?;
    // One number in four billion is too large for the curve.
    let Some(made) = key(der.as_slice()) else { return generate_p256(label, protection) };
    let public = public_text(made.public(), label);
    let (kind, document) = match protection {
        Protection::WithoutPassword => (OPEN, SecretDocument::try_from(der.as_slice())),
        Protection::Password(password) => (SEALED, seal(der.as_slice(), password)),
    };
    let unwritten = |_| BadKeyFile::Corrupt;
    let secret = document.map_err(unwritten)?.to_pem(kind, LineEnding::LF).map_err(unwritten)?;
    Ok(NewKey { secret, public, key: *made.public() })
}

fn seal(der: &[u8], password: &Password) -> Result<SecretDocument, pkcs8::der::Error> {
    let (log_n, r, p) = SCRYPT;
    let failed = |_: &dyn std::fmt::Debug| pkcs8::der::Error::from(ErrorKind::Failed);
    let params = scrypt::Params::new(log_n, r, p).map_err(|e| failed(&e))?;
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    rand::fill(&mut salt).and_then(|()| rand::fill(&mut iv)).map_err(|e| failed(&e))?;
    let scheme = Parameters::generate_scrypt_aes256cbc(params, &salt, iv);
    let scheme = scheme.map_err(|e| failed(&e))?;
    let sealed = scheme.encrypt(password.as_bytes(), der).map_err(|e| failed(&e))?;
    let encrypted_data = OctetStringRef::new(&sealed)?;
    let info = EncryptedPrivateKeyInfoRef { encryption_algorithm: scheme.into(), encrypted_data };
    SecretDocument::encode_msg(&info)
}

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
            .map_err(|error| match error {
                pkcs8::pkcs5::Error::DecryptFailed => BadKeyFile::WrongPassword,
                _ => BadKeyFile::Algorithm("cipher"),
            })?;
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
    use pkcs8::pkcs5::pbes2::Pbkdf2Params;

    use super::*;

    #[test]
    fn a_new_p256_key_opens_with_its_password_and_no_other() {
        let password = |text: &str| Password::new(Zeroizing::new(text.to_owned())).unwrap();
        let open = generate_p256("alice", &Protection::WithoutPassword).unwrap();
        let opened = PemKey::parse(&open.secret).ok().unwrap().open(None).ok().unwrap();
        assert_eq!(*opened.public(), open.key);
        opened.public().verify(b"m", &opened.sign_bytes(b"m").unwrap()).unwrap();

        let sealed = generate_p256("alice", &Protection::Password(&password("open sesame")));
        let sealed = sealed.unwrap();
        let file = || PemKey::parse(&sealed.secret).ok().unwrap();
        assert!(matches!(file().open(None).err(), Some(BadKeyFile::NeedsPassword)));
        let wrong = file().open(Some(&password("open barley"))).err();
        assert!(matches!(wrong, Some(BadKeyFile::WrongPassword)));
        let opened = file().open(Some(&password("open sesame"))).ok().unwrap();
        assert_eq!(*opened.public(), sealed.key);
    }

    #[test]
    fn a_file_that_asks_for_more_than_stock_strength_is_refused() {
        let asks = |rounds| {
            let kdf = Pbkdf2Params::hmac_sha256(rounds, &[0; 16]).unwrap().into();
            let encryption = pkcs8::pkcs5::pbes2::EncryptionScheme::Aes256Cbc { iv: [0; 16] };
            strength(&Parameters { kdf, encryption }.into())
        };
        asks(MAX_ROUNDS).unwrap();
        assert!(matches!(asks(MAX_ROUNDS + 1), Err(BadKeyFile::Strength)));
        let scrypt = |log_n, r, p| {
            let params = scrypt::Params::new(log_n, r, p).unwrap();
            let made = Parameters::generate_scrypt_aes256cbc(params, &[0; 16], [0; 16]);
            strength(&made.unwrap().into())
        };
        scrypt(20, 8, 1).unwrap();
        for (log_n, r, p) in [(21, 8, 1), (20, 9, 1), (10, 8, 17)] {
            assert!(matches!(scrypt(log_n, r, p), Err(BadKeyFile::Strength)));
        }
    }

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
