//! A review whose files are fuzzed, but signed by the right keys: what lies behind the signatures.
//!
//! ```text
//! == role demo     the role that is asked for
//! == payload       its `signed` object; signed bytes are canonical, so this is made so
//! == root          a published root: this `signed` object, signed by all holders; one a line of the chain
//! == last  == delegator  == targets  == pinned    likewise; with `raw ` before the name, exactly as it stands
//! ```

use std::sync::LazyLock;

use countersign_keys::pin::PinnedRoot;
use countersign_keys::review::{Review, Reviewed, review};
use countersign_keys::sign::{Rebuilds, sign};
use countersign_keys::{KeyFile, SecretKey, import, minisig};
use countersign_metadata::canonical;
use countersign_metadata::request::{Bytes, FORMAT, RequestSubject, SigningRequest};
use serde_json::Value;

use crate::holder::Holder;
use crate::parts::parts;
use crate::published::published;

/// As many as every threshold needs, no more: signatures are what a run spends its time on.
static HOLDERS: LazyLock<[Holder; 3]> = LazyLock::new(|| [1, 2, 9].map(Holder::new));
const ALICE: &str = include_str!("../corpus/secret/alice.key");

pub(crate) fn run(bytes: &[u8]) {
    let _accepted = accepted(bytes);
}

/// Whether the request was accepted and signed.
pub(crate) fn accepted(bytes: &[u8]) -> bool {
    let (mut pinned, mut payload, mut asked) = (None, Vec::new(), String::new());
    let (mut roots, mut last, mut delegator, mut targets) = (Vec::new(), None, None, None);
    let mut published_role = None;
    let mut trusted_root = None;
    for (name, bytes) in parts(bytes) {
        if let Some(role) = name.strip_prefix("role ") {
            role.clone_into(&mut asked);
            continue;
        }
        let (name, file) = match name.strip_prefix("raw ") {
            Some(name) => (name, bytes.to_vec()),
            None if name == "payload" => (name, canonical_of(bytes)),
            None => (name, published(bytes, &*HOLDERS)),
        };
        match name {
            "payload" => payload = file,
            "root" => roots.push(Bytes(file)),
            "last" => last = Some(Bytes(file)),
            "delegator" => delegator = Some(Bytes(file)),
            "targets" => targets = Some(Bytes(file)),
            "published" => published_role = Some(Bytes(file)),
            "trusted_root" => trusted_root = Some(Bytes(file)),
            "pinned" => pinned = PinnedRoot::published(file).ok(),
            _ => {}
        }
    }
    let payload = Bytes(payload);
    let (role, published) = (asked, published_role);
    let subject = RequestSubject::Role {
        role,
        payload,
        roots,
        last,
        delegator,
        targets,
        published,
        trusted_root,
    };
    let request = SigningRequest { format: FORMAT, subject };
    let pinned = pinned.or_else(|| PinnedRoot::trust_first(&request).ok());
    review(&request, pinned.as_ref()).is_ok_and(|reviewed| shown_and_signed(&reviewed, &request))
}

fn canonical_of(bytes: &[u8]) -> Vec<u8> {
    let value = serde_json::from_slice::<Value>(bytes).ok();
    value.and_then(|v| canonical::to_bytes(&v).ok()).unwrap_or_else(|| bytes.to_vec())
}

fn shown_and_signed(reviewed: &Reviewed, request: &SigningRequest) -> bool {
    let words = reviewed.get().words("2026-11-20T00:00:00Z".parse().expect("a time"));
    assert!(words.chars().all(|c| c == '\n' || !c.is_control()), "{words:?}");
    let Review::Role(role) = reviewed.get() else { unreachable!("a role was asked for") };
    let _json = serde_json::to_string(role).expect("a review is JSON");
    let message = request.message();
    assert_eq!(import::message(reviewed), message);

    let alice: SecretKey = KeyFile::parse(ALICE).and_then(|file| file.open(None)).expect("a key");
    let Ok(signed) = sign(reviewed, &alice, &Rebuilds::WithoutRebuild) else { return false };
    let key = alice.public();
    let verified = signed.signature.verify(&message).expect("it was checked");
    let text = verified.get().minisig.as_deref().expect("a minisign key");
    minisig::verify(text, key, &message).expect("it was checked");
    // What another tool would have made of the same bytes is taken in likewise.
    let holder = &HOLDERS[0];
    let waiver = import::waiver_message(reviewed, key).expect("she has a say");
    let waiver = waiver.map(|message| holder.sign(&message));
    let file = holder.sign(&message);
    let rebuilds = Rebuilds::WithoutRebuild;
    import::import(reviewed, key, "alice", &file, waiver.as_deref(), &rebuilds).expect("the same");
    true
}
