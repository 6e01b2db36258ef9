//! Files of secret keys and passwords, and labels of public ones. A sealed key is opened where that is cheap.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_keys::label::{check, public_label, public_text};
use countersign_keys::pkcs8::PemKey;
use countersign_keys::{KeyFile, Password, SecretKey};
use countersign_metadata::PublicKey;
use pkcs8::{EncryptedPrivateKeyInfoRef, SecretDocument};
use zeroize::Zeroizing;

pub(crate) fn run(bytes: &[u8]) {
    let _password = Password::from_file(&Zeroizing::new(bytes.to_vec()));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let label = public_label(text);
    assert!(label.is_empty() || check(&label).is_ok());
    let password = Password::new(Zeroizing::new("open sesame".to_owned()));
    if let Ok(file) = KeyFile::parse(text) {
        let password = password.as_ref().filter(|_| cheap_minisign(text));
        file.open(password).iter().for_each(key);
    }
    if let Ok(file) = PemKey::parse(text) {
        let password = password.as_ref().filter(|_| cheap_pem(text));
        file.open(password).iter().for_each(key);
    }
}

/// What was opened is a key whose public half can be written and read.
fn key(key: &SecretKey) {
    let public = *key.public();
    let label = Some(key.label()).filter(|l| !l.is_empty()).unwrap_or("label");
    let text = public_text(&public, label);
    assert_eq!(PublicKey::from_file_text(&text).ok(), Some(public));
    assert_eq!(public_label(&text), label);
}

/// Whether the limits in a sealed file are low: the work that it asks for is not what is tested.
fn cheap_minisign(text: &str) -> bool {
    let raw = text.lines().nth(1).and_then(|line| STANDARD.decode(line.trim()).ok());
    let raw = raw.unwrap_or_default();
    let limit = |at: usize| {
        let bytes = raw.get(at..at + 8).and_then(|b| b.try_into().ok());
        bytes.map_or(u64::MAX, u64::from_le_bytes)
    };
    // Above stock strength it must be refused without any work.
    let (operations, memory) = (limit(38), limit(46));
    (operations <= 65_536 && memory <= 1 << 20) || (operations > 1 << 60 && memory > 1 << 60)
}

fn cheap_pem(text: &str) -> bool {
    let Ok((_, document)) = SecretDocument::from_pem(text) else { return false };
    let Ok(info) = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()) else { return true };
    let Some(pbes2) = info.encryption_algorithm.pbes2() else { return true };
    let rounds = pbes2.kdf.pbkdf2().is_none_or(|p| p.iteration_count <= 1000);
    let scrypt = pbes2.kdf.scrypt().is_none_or(|p| {
        let work = p.cost_parameter.checked_mul(u64::from(p.block_size));
        let work = work.and_then(|w| w.checked_mul(u64::from(p.parallelization)));
        work.is_some_and(|w| w <= 1 << 10)
    });
    rounds && scrypt
}
