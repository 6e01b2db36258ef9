//! Files of roles taken apart, and the releases in them: whatever the bytes are.

use countersign_metadata::trust::{Authority, Kept, SignedFile, Trust, index, worth_listing};
use countersign_metadata::{NodeSpec, Release, canonical};
use serde_json::Value;

const ROLES: [&str; 6] = ["root", "targets", "snapshot", "timestamp", "demo", "demo.index"];

pub(crate) fn run(bytes: &[u8]) {
    for role in ROLES {
        if let Ok(file) = SignedFile::parse(role, bytes) {
            take_apart(&file);
        }
    }
    if let Ok(trust) = Trust::from_root(bytes) {
        let now = trust.root().expires();
        let kept = ["root", "timestamp", "snapshot", "targets", "demo"];
        let kept: Kept = kept.iter().map(|r| (format!("{r}.json"), bytes.to_vec())).collect();
        let restored = Trust::restore(bytes, &kept, now).expect("the root is one");
        assert_eq!(restored.root().version(), trust.root().version());
    }
    if let Ok(value) = serde_json::from_slice::<Value>(bytes) {
        release(&value);
    }
    if let Ok(node) = serde_json::from_slice::<NodeSpec>(bytes) {
        let _sense = node.check();
    }
}

fn take_apart(file: &SignedFile) {
    // What is read back from the bytes that are signed is what was read from the file.
    let json = canonical::to_json(file.message());
    let again: Value = serde_json::from_slice(&json).expect("canonical bytes are JSON");
    assert_eq!(again, *file.signed());
    assert_eq!(canonical::to_bytes(&again).expect("it was canonical"), file.message());

    let _revoked = file.revoked();
    let _named = file.signers();
    if let Ok(index) = index(file) {
        for listed in index.into_values() {
            let kept = worth_listing(listed);
            assert_eq!(worth_listing(kept.clone()), kept);
        }
    }
    let authorities =
        ROLES.map(|r| [Authority::of_root(file, r), Authority::of_delegation(file, r)]);
    for authority in authorities.into_iter().flatten().flatten() {
        assert!((1..=authority.keys().len()).contains(&authority.threshold()));
        if let Ok(quorum) = authority.count(file) {
            assert!(quorum.signers().count() >= authority.threshold());
        }
    }
}

fn release(custom: &Value) {
    let _without_path = Release::from_custom("demo/1.0.0/x", Some(custom));
    let Some(claimed) = custom.get("countersign") else { return };
    let Ok(claimed) = serde_json::from_value::<Release>(claimed.clone()) else { return };
    let path = claimed.target_path();
    assert!(!path.starts_with('/') && !path.contains("..") && path.split('/').count() == 3);
    if let Ok(release) = Release::from_custom(&path, Some(custom)) {
        let written = release.to_custom().expect("it was read");
        let again = Release::from_custom(&path, Some(&written)).expect("it was read");
        assert_eq!(again, release);
    }
}
