//! The forms in which other tools write public keys: PEM (SPKI), OpenSSH, and the key files of minisign and signify.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Algorithm, BadKey, PublicKey};

/// DER of a `SubjectPublicKeyInfo` up to the key (RFC 8410 §4): the whole is 44 bytes.
const ED25519_SPKI: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The same for an uncompressed point on the named curve P-256 (RFC 5480 §2): the whole is 91 bytes.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// The same for a compressed one: the whole is 59 bytes. Read, never written.
const P256_COMPRESSED_SPKI: &[u8] = &[
    0x30, 0x39, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x22, 0x00,
];
const BEGIN: &str = "-----BEGIN ";
const PEM: [&str; 2] = ["-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"];
const SSH_ED25519: &str = "ssh-ed25519";
const SSH_P256: &str = "ecdsa-sha2-nistp256";
const SSH_CURVE: &[u8] = b"nistp256";

impl PublicKey {
    /// From a public key file of any tool that we know: minisign or signify (an untrusted comment, then the
    /// key), ours, OpenSSH (`ssh-ed25519`, `ecdsa-sha2-nistp256`), or PEM (`PUBLIC KEY`).
    ///
    /// # Errors
    /// There is no key in it, more than one, or one of another kind.
    pub fn from_file_text(text: &str) -> Result<Self, BadKey> {
        if text.contains(BEGIN) {
            return Self::from_pem(text);
        }
        let mut lines = text.lines().map(str::trim).filter(|line| {
            !line.is_empty() && !line.starts_with("untrusted comment:") && !line.starts_with('#')
        });
        let line = lines.next().ok_or_else(|| BadKey::NotAKey(String::new()))?;
        let key = match line.split_whitespace().next() {
            Some(SSH_ED25519 | SSH_P256) => Self::from_ssh(line),
            Some(kind) if ["ssh-", "ecdsa-", "sk-"].iter().any(|p| kind.starts_with(p)) => {
                Err(BadKey::Unsupported(kind.chars().take(40).collect()))
            }
            _ => line.parse(),
        }?;
        if lines.next().is_some() { Err(BadKey::Several) } else { Ok(key) }
    }

    /// From a line of OpenSSH: kind, base64, perhaps a comment.
    fn from_ssh(line: &str) -> Result<Self, BadKey> {
        let bad = || BadKey::NotAKey(line.chars().take(8).collect());
        let mut words = line.split_whitespace();
        let (kind, blob) = words.next().zip(words.next()).ok_or_else(bad)?;
        let blob = STANDARD.decode(blob).map_err(|_| bad())?;
        if strings(&blob).and_then(|s| s.first().copied()) != Some(kind.as_bytes()) {
            return Err(bad());
        }
        Self::from_ssh_blob(&blob)
    }

    /// From OpenSSH's own encoding (RFC 8709 §4, RFC 5656 §3.1).
    ///
    /// # Errors
    /// Another kind of key, or malformed.
    pub fn from_ssh_blob(blob: &[u8]) -> Result<Self, BadKey> {
        let bad = || BadKey::NotAKey("ssh".to_owned());
        let strings = strings(blob).ok_or_else(bad)?;
        match strings.as_slice() {
            [kind, key] if *kind == SSH_ED25519.as_bytes() => {
                Ok(Self::ed25519((*key).try_into().map_err(|_| bad())?))
            }
            [kind, SSH_CURVE, point] if *kind == SSH_P256.as_bytes() => Self::p256(point),
            [kind, ..] => {
                let kind = String::from_utf8_lossy(&kind[..kind.len().min(40)]);
                Err(BadKey::Unsupported(kind.into_owned()))
            }
            [] => Err(bad()),
        }
    }

    /// OpenSSH's own encoding of the key.
    pub fn to_ssh_blob(&self) -> Vec<u8> {
        let spki = self.to_spki();
        let parts: &[&[u8]] = match self.algorithm() {
            Algorithm::Ed25519 => &[SSH_ED25519.as_bytes(), self.as_bytes()],
            Algorithm::P256 => &[SSH_P256.as_bytes(), SSH_CURVE, &spki[P256_SPKI.len()..]],
        };
        let mut blob = Vec::new();
        for part in parts {
            // None is longer than 65 bytes.
            let length = u32::try_from(part.len()).unwrap_or_default();
            blob.extend_from_slice(&length.to_be_bytes());
            blob.extend_from_slice(part);
        }
        blob
    }

    /// From the one `PUBLIC KEY` block of a PEM text.
    ///
    /// # Errors
    /// None, more than one, a secret key, or another kind of key.
    pub fn from_pem(text: &str) -> Result<Self, BadKey> {
        Self::from_spki(&spki_of(text)?)
    }

    /// From the DER of a `SubjectPublicKeyInfo`. DER has one form for each kind, so a prefix tells.
    ///
    /// # Errors
    /// Another kind of key, or malformed.
    pub fn from_spki(der: &[u8]) -> Result<Self, BadKey> {
        if let Some(key) = der.strip_prefix(ED25519_SPKI) {
            let key = key.try_into().map_err(|_| BadKey::Unsupported("SPKI".to_owned()))?;
            return Ok(Self::ed25519(key));
        }
        let point = der.strip_prefix(P256_SPKI).or(der.strip_prefix(P256_COMPRESSED_SPKI));
        Self::p256(point.ok_or_else(|| BadKey::Unsupported("SPKI".to_owned()))?)
    }

    /// The DER of its `SubjectPublicKeyInfo`; a P-256 point is not compressed, which every tool reads.
    #[expect(clippy::missing_panics_doc, reason = "the point was on the curve when it was read")]
    pub fn to_spki(&self) -> Vec<u8> {
        match self.algorithm() {
            Algorithm::Ed25519 => [ED25519_SPKI, self.as_bytes()].concat(),
            Algorithm::P256 => {
                #[expect(
                    clippy::expect_used,
                    reason = "the point was on the curve when it was read"
                )]
                let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, self.as_bytes())
                    .expect("a point on the curve");
                #[expect(clippy::expect_used, reason = "a parsed key always has a DER form")]
                parsed.as_der().expect("a parsed key").as_ref().to_vec()
            }
        }
    }

    /// The key as a PEM `PUBLIC KEY` block of lines of 64 characters, as OpenSSL and python-tuf write it.
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(self.to_spki());
        let mut out = format!("{}\n", PEM[0]);
        for (at, character) in body.chars().enumerate() {
            if at > 0 && at % 64 == 0 {
                out.push('\n');
            }
            out.push(character);
        }
        out.push('\n');
        out.push_str(PEM[1]);
        out.push('\n');
        out
    }
}

/// The DER in the one `PUBLIC KEY` block of a PEM text.
pub(super) fn spki_of(text: &str) -> Result<Vec<u8>, BadKey> {
    let bad = || BadKey::NotAKey(text.trim_start().chars().take(8).collect());
    if text.contains("PRIVATE KEY-----") {
        return Err(BadKey::Secret);
    }
    if text.matches(BEGIN).count() > 1 {
        return Err(BadKey::Several);
    }
    let (_before, rest) = text.split_once(PEM[0]).ok_or_else(bad)?;
    let (body, _after) = rest.split_once(PEM[1]).ok_or_else(bad)?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).map_err(|_| bad())
}

/// The length-prefixed strings that `bytes` consist of, all of them.
fn strings(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut strings = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (string, rest) = rest.split_at_checked(length)?;
        strings.push(string);
        bytes = rest;
    }
    Some(strings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with stock OpenSSL 3 and OpenSSH 9 from one key each.
    const P256_PEM: &str = include_str!("test-vectors/p256.pem");
    const P256_SSH: &str = include_str!("test-vectors/p256.ssh");
    const ED25519_PEM: &str = include_str!("test-vectors/ed25519.pem");
    const ED25519_SSH: &str = include_str!("test-vectors/ed25519.ssh");

    #[test]
    fn a_key_is_the_same_in_every_form() {
        for (pem, ssh, algorithm) in
            [(P256_PEM, P256_SSH, Algorithm::P256), (ED25519_PEM, ED25519_SSH, Algorithm::Ed25519)]
        {
            let key = PublicKey::from_file_text(pem).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(PublicKey::from_file_text(ssh).unwrap(), key);
            assert_eq!(PublicKey::from_spki(&key.to_spki()).unwrap(), key);
            assert_eq!(key.to_pem(), pem);
            assert_eq!(PublicKey::from_ssh_blob(&key.to_ssh_blob()).unwrap(), key);
            let ours = format!("untrusted comment: Alice\n{key}\n");
            assert_eq!(PublicKey::from_file_text(&ours).unwrap(), key);
        }
    }

    #[test]
    fn a_file_of_two_keys_or_of_another_kind_is_refused_by_name() {
        let two = [P256_PEM, ED25519_PEM].concat();
        assert!(matches!(PublicKey::from_file_text(&two), Err(BadKey::Several)));
        let two = [P256_SSH, ED25519_SSH].concat();
        assert!(matches!(PublicKey::from_file_text(&two), Err(BadKey::Several)));
        let rsa = "ssh-rsa AAAAB3NzaC1yc2E= somebody";
        assert!(matches!(PublicKey::from_file_text(rsa), Err(BadKey::Unsupported(_))));
        let mixed = P256_SSH.replace("ecdsa-sha2-nistp256 ", "ssh-ed25519 ");
        assert!(matches!(PublicKey::from_file_text(&mixed), Err(BadKey::NotAKey(_))));
        let secret = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n";
        assert!(matches!(PublicKey::from_file_text(secret), Err(BadKey::Secret)));
    }
}
