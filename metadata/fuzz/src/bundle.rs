//! Sigstore bundles about a release, and every other file and answer that comes with them.

use std::sync::LazyLock;

use countersign_metadata::sigstore::{
    Artifact, By, Policy, Rekor, Signed, SignedBy, TrustedRoot, Wish, claimed_path, from_bundle,
    to_bundle, verify_artifact, verify_by_anyone, verify_key_signed, verify_keyless,
};
use countersign_metadata::trusted_root::parties;
use countersign_metadata::{PublicKey, Release};

use crate::enveloped::enveloped;
use crate::holder::Holder;

/// A private instance, and what it answered once to Alice's fresh key.
struct Fixed {
    release: Release,
    root: TrustedRoot,
    policy: Policy,
    fresh: PublicKey,
    alice: Holder,
}

const TOKEN: &str = include_str!("../corpus/bundle/token");
const FULCIO: &[u8] = include_bytes!("../corpus/bundle/fulcio.json");
const REKOR: &[u8] = include_bytes!("../corpus/bundle/rekor.json");
const KEYLESS: &[u8] = include_bytes!("../corpus/bundle/keyless.json");

static FIXED: LazyLock<Fixed> = LazyLock::new(|| {
    let custom = serde_json::from_slice(include_bytes!("../corpus/role/release.json"));
    let path = "demo/1.0.0/demo-1.0.0-linux-x86_64.tar.zst";
    let root = TrustedRoot::parse(include_bytes!("../corpus/bundle/trusted_root.json"));
    let policy = Policy::parse(include_bytes!("../corpus/bundle/policy.json"));
    Fixed {
        release: Release::from_custom(path, Some(&custom.expect("JSON"))).expect("a release"),
        root: root.expect("a trusted root"),
        policy: policy.expect("a policy"),
        fresh: include_str!("../corpus/bundle/fresh.pub").parse().expect("a key"),
        alice: Holder::new(1),
    }
});

pub(crate) fn run(bytes: &[u8]) {
    let Fixed { release, root, policy, alice, .. } = &*FIXED;
    bundle(bytes, release, root, policy);
    // As the payload of a bundle that Alice has signed.
    let signed = to_bundle(&enveloped(alice, bytes)).expect("one signature");
    assert_eq!(
        from_bundle(&signed).and_then(|e| Ok(e.verify(&alice.public)?)).ok().as_deref(),
        Some(bytes)
    );
    if let Ok(verified) = verify_key_signed(&signed, release, None) {
        assert!(*verified.by() == SignedBy::Key(alice.public) && !verified.is_logged());
    }
    if let Ok(root) = TrustedRoot::parse(bytes) {
        let _verified = verify_keyless(KEYLESS, release, policy, &root);
    }
    let _parties = parties(bytes);
    if let Ok(policy) = Policy::parse(bytes) {
        assert!(!policy.signers().is_empty());
    }
    answers(bytes);
}

fn bundle(bytes: &[u8], release: &Release, root: &TrustedRoot, policy: &Policy) {
    let _path = claimed_path(bytes);
    if let Ok(verified) = verify_keyless(bytes, release, policy, root) {
        assert!(verified.is_logged() && !verified.times().is_empty());
        assert!(policy.signers().iter().any(|s| *verified.by() == SignedBy::Keyless(s.clone())));
    }
    for root in [None, Some(root)] {
        let _verified = verify_by_anyone(bytes, release, root);
        let _verified = verify_key_signed(bytes, release, root);
    }
    let artifact = Artifact::Digest(release.artifact.sha256);
    let _verified = verify_artifact(bytes, artifact, By::Anyone(policy), root);
    let _verified =
        verify_artifact(bytes, Artifact::Bytes(b"artifact"), By::Key(&FIXED.fresh), root);
    if let Ok(envelope) = from_bundle(bytes) {
        let again = to_bundle(&envelope).expect("it was in one");
        let again = from_bundle(&again).expect("it was written");
        assert_eq!(again.claimed_payload().ok(), envelope.claimed_payload().ok());
    }
}

/// The services' answers on the way to a keyless signature.
fn answers(bytes: &[u8]) {
    let Fixed { release, root, fresh, .. } = &*FIXED;
    if let Ok(token) = std::str::from_utf8(bytes) {
        let _wish = Wish::new(token, *fresh).map(|wish| wish.request(b"proof"));
    }
    let wish = || Wish::new(TOKEN, *fresh).expect("a token");
    let _certified = wish().certified(bytes).map(|c| c.signer().name());
    let certified = || wish().certified(FULCIO).expect("an answer");
    let _named = certified().in_own_name(bytes);
    let (payload, signature) = signed();
    let signed = || {
        let signed = certified().signed(&payload, &signature, Some(release));
        signed.expect("signed by the fresh key")
    };
    for rekor in [Rekor::V1, Rekor::V2] {
        if let Ok(bundle) = signed().logged(rekor, bytes, root) {
            claimed_path(&bundle).expect("it was verified");
        }
    }
    if let Ok(stamped) = signed().stamped(bytes) {
        let _bundle = stamped.logged(Rekor::V1, REKOR, root);
    }
    if let Ok(envelope) = serde_json::from_slice(bytes) {
        let _signed = Signed::with_key(&envelope, None).map(|signed| signed.request(Rekor::V2));
    }
}

/// What Alice's fresh key has signed, and the signature.
fn signed() -> (Vec<u8>, Vec<u8>) {
    let payload = include_bytes!("../corpus/bundle/statement.json").to_vec();
    (payload, hex::decode(include_str!("../corpus/bundle/statement.sig").trim()).expect("digits"))
}
