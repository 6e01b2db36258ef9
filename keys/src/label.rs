//! Names of keys, which live in the comment lines of their files.
//!
//! ```text
//! untrusted comment: LABEL (countersign public key NUMBER)
//! RW…
//! ```

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use countersign_metadata::{PublicKey, Sha256};

use crate::review::printable;

pub(crate) const COMMENT: &str = "untrusted comment: ";
pub(crate) const SECRET: &str = " (countersign secret key ";
const PUBLIC: &str = " (countersign public key ";
/// Longest label, in bytes.
pub const MAX_LABEL: usize = 64;

/// A label that would break out of its comment line.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a label: 1 to {MAX_LABEL} bytes of printable text without '('")]
pub struct BadLabel(String);

/// The text of a public key file.
pub fn public_text(key: &PublicKey, label: &str) -> String {
    format!("{COMMENT}{label}{PUBLIC}{})\n{key}\n", number_text(key))
}

/// The label in a public key file; empty for those of other tools.
pub fn public_label(text: &str) -> String {
    let comment = text.lines().next().and_then(|l| l.strip_prefix(COMMENT));
    comment.map(|c| inside(c, PUBLIC)).unwrap_or_default()
}

/// The fingerprint of a key as `ssh-add -l` prints it.
pub fn ssh_fingerprint(key: &PublicKey) -> String {
    let digest = Sha256::of(&key.to_ssh_blob());
    format!("SHA256:{}", STANDARD_NO_PAD.encode(digest.as_bytes()))
}

/// The minisign key number as the stock tool prints it: 16 hexadecimal digits.
pub fn number_text(key: &PublicKey) -> String {
    format!("{:016X}", u64::from_le_bytes(key.number()))
}

pub(crate) fn inside(comment: &str, mark: &str) -> String {
    let label = comment.rsplit_once(mark).map(|(label, _)| label.to_owned());
    label.filter(|label| check(label).is_ok()).unwrap_or_default()
}

/// Checks that a label is 1 to [`MAX_LABEL`] printable characters.
///
/// # Errors
/// It is not.
pub fn check(label: &str) -> Result<(), BadLabel> {
    let good = (1..=MAX_LABEL).contains(&label.len())
        && label == printable(label)
        && !label.contains('(')
        && label.trim() == label;
    if good { Ok(()) } else { Err(BadLabel(label.chars().take(80).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyfile::{KeyFile, Protection, generate};

    #[test]
    fn a_label_stays_on_its_line() {
        for bad in ["", "a\nb", "a(b", "\u{1b}[2J", " a", &"x".repeat(65)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        let made = generate("Alice B.", &Protection::WithoutPassword).unwrap();
        assert_eq!(public_label(&made.public), "Alice B.");
        let opened = KeyFile::parse(&made.secret).unwrap_or_else(|e| panic!("{e}")).open(None);
        assert_eq!(opened.ok().unwrap().label(), "Alice B.");
    }
}
