//! minisign key files, read and written as the stock tool does.
//!
//! ```text
//! untrusted comment: LABEL (countersign secret key NUMBER)
//! base64( "Ed" | kdf 2 | "B2" | salt 32 | opslimit 8 | memlimit 8 | number 8 | seed 32 | public 32 | checksum 32 )
//! ```
//! `kdf` is `Sc`, and the last 104 bytes are XORed with scrypt of the password; or it is two zero bytes, and they
//! lie open. The checksum is BLAKE2b-256 over `Ed | number | seed | public`; stock `minisign -G -W` leaves it zero.
//!
//! Why not the `minisign` crate? It clears no secret, prints them in `Debug`, writes scrypt at 32 MiB where stock
//! uses 1 GiB, and refuses the stock tool's keys without password. It stays as a second opinion in the tests.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest};
use countersign_metadata::PublicKey;
use zeroize::Zeroizing;

use crate::label::{BadLabel, COMMENT, SECRET, check, inside, number_text, public_text};
use crate::secret::{Password, SecretBytes, SecretKey, secret_bytes};

const LENGTH: usize = 158;
/// What is encrypted begins here: number, seed, public key, checksum.
const SEALED: usize = 54;
const SCRYPT: [u8; 2] = *b"Sc";
const OPEN: [u8; 2] = [0, 0];
/// libsodium's "sensitive" limits, which stock minisign uses: 2^20 blocks of 1 KiB, so 1 GiB and seconds a guess.
const OPSLIMIT: u64 = 33_554_432;
const MEMLIMIT: u64 = 1 << 30;
/// A file may ask for no more than stock strength: its limits are read before anything is proven.
const MAX_LOG_N: u8 = 20;
const MAX_PARALLEL: u32 = 16;

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadKeyFile {
    /// Not two lines, or not base64, or another length.
    #[error(
        "it is no secret key (a minisign key file, or PEM that begins with -----BEGIN PRIVATE KEY-----)"
    )]
    NotMinisign,
    /// minisign: another algorithm than Ed25519, scrypt or none, BLAKE2b. PKCS#8: another than PBES2.
    #[error("its {0} is not supported")]
    Algorithm(&'static str),
    /// PEM, but not PKCS#8.
    #[error("its PEM block is {0:?}, not PKCS#8")]
    OtherPem(String),
    /// PKCS#8, but of another kind.
    #[error("it is neither an Ed25519 nor a P-256 key")]
    Kind,
    /// scrypt limits that make no sense, or above those of the stock tool.
    #[error("it asks for a password derivation above the stock tool's strength")]
    Strength,
    /// The key is sealed and no password was given.
    #[error("it is sealed with a password")]
    NeedsPassword,
    /// The checksum does not come out.
    #[error("the password is wrong")]
    WrongPassword,
    /// An open key whose checksum or public half does not fit.
    #[error("its checksum or public half does not fit its secret")]
    Corrupt,
    /// A label that would break out of its comment line.
    #[error(transparent)]
    Label(#[from] BadLabel),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// How a new key file is protected.
pub enum Protection<'a> {
    /// Sealed with scrypt at stock strength.
    Password(&'a Password),
    /// Whoever reads the file has the key.
    WithoutPassword,
}

/// A key file as it lies on disk: perhaps sealed.
pub struct KeyFile {
    raw: SecretBytes<LENGTH>,
    label: String,
}

/// A key pair just made, as the texts of its two files.
pub struct NewKey {
    /// The secret key file.
    pub secret: Zeroizing<String>,
    /// The public key file.
    pub public: String,
    /// The public half.
    pub key: PublicKey,
}

/// Makes a key pair.
///
/// # Errors
/// The label breaks its line, or the system gives no random bytes.
pub fn generate(label: &str, protection: &Protection<'_>) -> Result<NewKey, BadKeyFile> {
    check(label)?;
    let random = |bytes: &mut [u8]| rand::fill(bytes).map_err(|_| BadKeyFile::Random);
    let mut raw = secret_bytes::<LENGTH>();
    raw[..6].copy_from_slice(b"Ed\0\0B2");
    random(&mut raw[SEALED..SEALED + 40])?;
    let mut number = [0; 8];
    number.copy_from_slice(&raw[SEALED..SEALED + 8]);
    let pair = Ed25519KeyPair::from_seed_unchecked(&raw[62..94]).map_err(|_| BadKeyFile::Random)?;
    let mut public = [0; 32];
    public.copy_from_slice(pair.public_key().as_ref());
    raw[94..126].copy_from_slice(&public);
    let checksum = checksum(&raw);
    raw[126..].copy_from_slice(&checksum);
    if let Protection::Password(password) = protection {
        raw[2..4].copy_from_slice(&SCRYPT);
        random(&mut raw[6..38])?;
        raw[38..46].copy_from_slice(&OPSLIMIT.to_le_bytes());
        raw[46..54].copy_from_slice(&MEMLIMIT.to_le_bytes());
        toggle_seal(&mut raw, password)?;
    }
    let key = PublicKey::from_parts(number, public);
    let line = Zeroizing::new(STANDARD.encode(raw.as_slice()));
    let number = number_text(&key);
    Ok(NewKey {
        secret: Zeroizing::new(format!("{COMMENT}{label}{SECRET}{number})\n{}\n", *line)),
        public: public_text(&key, label),
        key,
    })
}

impl KeyFile {
    /// Reads the text of a key file.
    ///
    /// # Errors
    /// It is no minisign secret key.
    pub fn parse(text: &str) -> Result<Self, BadKeyFile> {
        let mut lines = text.lines();
        let comment =
            lines.next().and_then(|l| l.strip_prefix(COMMENT)).ok_or(BadKeyFile::NotMinisign)?;
        let line = lines.next().ok_or(BadKeyFile::NotMinisign)?;
        let bytes = STANDARD.decode(line.trim()).map_err(|_| BadKeyFile::NotMinisign)?;
        let bytes = Zeroizing::new(bytes);
        if bytes.len() != LENGTH || &bytes[..2] != b"Ed" {
            return Err(BadKeyFile::NotMinisign);
        }
        if bytes[2..4] != SCRYPT && bytes[2..4] != OPEN {
            return Err(BadKeyFile::Algorithm("password derivation"));
        }
        if &bytes[4..6] != b"B2" {
            return Err(BadKeyFile::Algorithm("checksum"));
        }
        let mut raw = secret_bytes();
        raw.copy_from_slice(&bytes);
        Ok(Self { raw, label: inside(comment, SECRET) })
    }

    /// Whether a password is needed.
    pub fn is_sealed(&self) -> bool {
        self.raw[2..4] == SCRYPT
    }

    /// The secret key. A password is used only where the file is sealed.
    ///
    /// # Errors
    /// The password is missing or wrong, or the file is damaged.
    pub fn open(mut self, password: Option<&Password>) -> Result<SecretKey, BadKeyFile> {
        let sealed = self.is_sealed();
        if sealed {
            toggle_seal(&mut self.raw, password.ok_or(BadKeyFile::NeedsPassword)?)?;
        }
        let fits = checksum(&self.raw) == self.raw[126..];
        let stock_open = !sealed && self.raw[126..] == [0; 32];
        if !fits && !stock_open {
            return Err(if sealed { BadKeyFile::WrongPassword } else { BadKeyFile::Corrupt });
        }
        let mut number = [0; 8];
        number.copy_from_slice(&self.raw[SEALED..SEALED + 8]);
        let mut public = [0; 32];
        public.copy_from_slice(&self.raw[94..126]);
        let mut seed = secret_bytes::<32>();
        seed.copy_from_slice(&self.raw[62..94]);
        let public = PublicKey::from_parts(number, public);
        SecretKey::from_seed(&seed, public, self.label).ok_or(BadKeyFile::Corrupt)
    }
}

fn checksum(raw: &[u8; LENGTH]) -> [u8; 32] {
    let mut state = Blake2b::<U32>::new();
    state.update(b"Ed");
    state.update(&raw[SEALED..126]);
    state.finalize().into()
}

/// XORs number, secret and checksum with the stream that the password gives: seals and unseals.
fn toggle_seal(raw: &mut [u8; LENGTH], password: &Password) -> Result<(), BadKeyFile> {
    let limit = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&raw[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (log_n, p) = parameters(limit(38), limit(46)).ok_or(BadKeyFile::Strength)?;
    let params = scrypt::Params::new(log_n, 8, p).map_err(|_| BadKeyFile::Strength)?;
    let mut stream = secret_bytes::<{ LENGTH - SEALED }>();
    scrypt::scrypt(password.as_bytes(), &raw[6..38], &params, stream.as_mut_slice())
        .map_err(|_| BadKeyFile::Strength)?;
    for (byte, mask) in raw[SEALED..].iter_mut().zip(stream.iter()) {
        *byte ^= mask;
    }
    Ok(())
}

/// scrypt's log2(N) and p for libsodium's limits, with r = 8; `None` above stock strength.
fn parameters(opslimit: u64, memlimit: u64) -> Option<(u8, u32)> {
    const R: u64 = 8;
    let opslimit = opslimit.max(32_768);
    let few_operations = opslimit < memlimit / 32;
    let max_n = if few_operations { opslimit / (R * 4) } else { memlimit / (R * 128) };
    let log_n = (1..=MAX_LOG_N).find(|n| 1 << n > max_n / 2)?;
    let p = if few_operations { 1 } else { (opslimit / 4 / (1 << log_n) / R).max(1) };
    let p = u32::try_from(p).ok().filter(|p| *p <= MAX_PARALLEL)?;
    Some((log_n, p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    /// Made with stock `minisign -G -W`: the checksum is zero.
    const STOCK_OPEN: &str = "untrusted comment: minisign encrypted secret key\n\
        RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4mL/1Mg3db0i9d0feOm9K/1RP4LF\
        QpNpxDGLDaXS2A4teMoZ+kA/cyPmngUcV9YxAC4gfSEiWs8knRyOxz6BKjeeF3W2+AWmAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
        AAAAAAA=\n";

    #[test]
    fn stock_limits_give_stock_scrypt_parameters() {
        assert_eq!(parameters(OPSLIMIT, MEMLIMIT), Some((20, 1)));
        assert_eq!(parameters(1 << 20, 32 << 20), Some((15, 1)));
        assert_eq!(parameters(u64::MAX, u64::MAX), None);
        assert_eq!(parameters(OPSLIMIT, 4 << 30), Some((20, 1)));
        assert_eq!(parameters(OPSLIMIT * 8, 8 << 30), None);
    }

    #[test]
    fn a_stock_key_without_password_opens() {
        let key = KeyFile::parse(STOCK_OPEN).unwrap().open(None).ok().unwrap();
        let public = "RWTiYv/UyDd1vSPmngUcV9YxAC4gfSEiWs8knRyOxz6BKjeeF3W2+AWm";
        assert_eq!(key.public().to_string(), public);
        assert_eq!((number_text(key.public()).as_str(), key.label()), ("BD7537C8D4FF62E2", ""));
    }

    #[test]
    fn a_damaged_open_key_is_refused() {
        let mut raw = STANDARD.decode(STOCK_OPEN.lines().nth(1).unwrap()).unwrap();
        raw[70] ^= 1;
        let damaged = format!("{COMMENT}x\n{}\n", STANDARD.encode(raw));
        let error = KeyFile::parse(&damaged).unwrap_or_else(|e| panic!("{e}")).open(None).err();
        assert!(matches!(error, Some(BadKeyFile::Corrupt)));
    }

    #[test]
    fn what_is_no_key_file_is_refused() {
        let public = public_text(&PublicKey::from_parts([1; 8], [2; 32]), "alice");
        for text in ["", "hello", "untrusted comment: x\n", "untrusted comment: x\nRWQ=\n", &public]
        {
            assert!(KeyFile::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_minisign_crate_opens_our_open_keys_and_we_its_sealed_ones() {
        let ours = generate("alice", &Protection::WithoutPassword).unwrap();
        let theirs = minisign::SecretKeyBox::from_string(&ours.secret).unwrap();
        let theirs = theirs.into_unencrypted_secret_key().unwrap();
        assert_eq!(theirs.keynum(), ours.key.number());

        let pair =
            minisign::KeyPair::generate_encrypted_keypair(Some("open sesame".into())).unwrap();
        let text = pair.sk.to_box(None).unwrap().into_string();
        let file = || KeyFile::parse(&text).unwrap_or_else(|e| panic!("{e}"));
        assert!(file().is_sealed());
        assert!(matches!(file().open(None).err(), Some(BadKeyFile::NeedsPassword)));
        let wrong = file().open(Some(&password("open barley"))).err();
        assert!(matches!(wrong, Some(BadKeyFile::WrongPassword)));
        let opened = file().open(Some(&password("open sesame"))).ok().unwrap();
        assert_eq!(opened.public().to_string(), pair.pk.to_base64());
    }
}
