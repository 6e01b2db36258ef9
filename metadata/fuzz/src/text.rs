//! Keys in the forms of other tools, names, versions and digests: what is read is written as it was read.

use std::fmt::Display;
use std::str::FromStr;

use countersign_metadata::statement::{identity, identity_key};
use countersign_metadata::trust::product_of;
use countersign_metadata::{Area, Platform, Product, PublicKey, Sha256, Version, node};

pub(crate) fn run(bytes: &[u8]) {
    let blobs =
        [PublicKey::from_spki(bytes), PublicKey::from_ssh_blob(bytes), PublicKey::p256(bytes)];
    blobs.into_iter().flatten().for_each(key);
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let texts = [PublicKey::from_file_text(text), PublicKey::from_pem(text), text.parse()];
    texts.into_iter().flatten().for_each(key);
    if let Ok(value) = serde_json::from_str(text) {
        PublicKey::from_tuf_json(&value).into_iter().for_each(key);
    }
    if let Some(named) = identity_key(text) {
        assert_eq!(identity(&named), text);
    }
    let names = [same::<Product>(text), same::<Platform>(text), same::<Area>(text)];
    if names.contains(&true) {
        assert!(!text.contains(['/', '\\', '.', '\0']) && !text.is_empty());
    }
    if same::<Version>(text) {
        assert!(!text.contains(['/', '\\', '\0']) && !text.contains(".."));
    }
    if let Some(product) = product_of(text) {
        assert!(text.starts_with(product.as_str()));
    }
    // Digests are read in both cases of their digits.
    if let Ok(digest) = text.parse::<Sha256>() {
        assert_eq!(digest.to_string().parse::<Sha256>().ok(), Some(digest));
    }
    let _filled = node::fill(&[text.to_owned()], &[("state", text), ("port", "8080")]);
}

/// A key is the same in every form that we write.
fn key(key: PublicKey) {
    let forms = [
        key.to_string().parse().ok(),
        PublicKey::from_pem(&key.to_pem()).ok(),
        PublicKey::from_spki(&key.to_spki()).ok(),
        PublicKey::from_ssh_blob(&key.to_ssh_blob()).ok(),
        PublicKey::from_tuf_json(&key.to_tuf()).ok(),
        identity_key(&identity(&key)),
    ];
    assert_eq!(forms, [Some(key); 6]);
}

fn same<T: FromStr + Display>(text: &str) -> bool {
    let Ok(parsed) = text.parse::<T>() else { return false };
    assert_eq!(parsed.to_string(), text);
    true
}
