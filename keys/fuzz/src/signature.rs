//! Signatures as other tools write them, signing requests as files, and names of keys in tokens.

use std::sync::LazyLock;

use countersign_keys::minisig;
use countersign_keys::pin::PinnedRoot;
use countersign_keys::raw::RawSignature;
use countersign_keys::review::{self, review};
use countersign_keys::sign::statement;
use countersign_keys::token::TokenUri;
use countersign_metadata::PublicKey;
use countersign_metadata::request::SigningRequest;

use crate::holder::Holder;

const MESSAGE: &[u8] = b"message";

static KEYS: LazyLock<[PublicKey; 2]> = LazyLock::new(|| {
    let p256 = include_str!("../corpus/signature/p256.pub").parse().expect("a key");
    [Holder::new(1).public, p256]
});

pub(crate) fn run(bytes: &[u8]) {
    for key in &*KEYS {
        let raw = RawSignature::verify(bytes, key, MESSAGE);
        if let Ok(text) = std::str::from_utf8(bytes) {
            let comment = minisig::verify(text, key, MESSAGE);
            assert!(comment.is_err() || raw.is_ok(), "a minisig is a signature");
        }
    }
    let now = "2026-11-20T00:00:00Z".parse().expect("a time");
    if let Ok(reviewed) = statement(bytes) {
        printable(&reviewed.get().words(now));
    }
    if let Ok(request) = serde_json::from_slice::<SigningRequest>(bytes) {
        let pinned = PinnedRoot::trust_first(&request).ok();
        for pinned in [None, pinned.as_ref()] {
            let reviewed = review(&request, pinned);
            reviewed.iter().for_each(|r| printable(&r.get().words(now)));
        }
    }
    if let Ok(pinned) = PinnedRoot::published(bytes.to_vec()) {
        assert!(pinned.same(&pinned));
        review::root(&pinned).iter().for_each(|r| printable(&r.words(now)));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(uri) = text.parse::<TokenUri>()
    {
        assert!(!uri.module.as_os_str().is_empty() && (uri.object.is_some() || uri.id.is_some()));
    }
}

/// Nothing of a stranger's moves the cursor.
fn printable(words: &str) {
    assert!(words.chars().all(|c| c == '\n' || !c.is_control()), "{words:?}");
}
