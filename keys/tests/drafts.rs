//! What the repository manager drafts is explained, signed and accepted: both sides of the signer protocol.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Holder, Repo};
use countersign_keys::pin::PinnedRoot;
use countersign_keys::review::review;
use countersign_keys::sign::{Rebuilds, sign};
use countersign_metadata::authoring::{self, Draft, Plan};

#[test]
fn a_new_repository_is_signed_by_two_of_three_keyholders() {
    let repo = Repo::new();
    let holder = |h: &Holder| authoring::Holder { label: h.name.to_owned(), key: *h.key() };
    let plan = Plan {
        products: vec!["demo".parse().unwrap()],
        keyholders: repo.three().map(holder).to_vec(),
        threshold: 2,
        online: holder(&repo.online),
        expires: "2099-01-01T00:00:00Z".parse().unwrap(),
    };
    let draft = Draft::init(&plan).unwrap();
    let roles: Vec<_> = draft.parts().iter().map(|part| part.role().to_owned()).collect();
    assert_eq!(roles, ["root", "targets", "demo"]);

    // Each keyholder signs all three in turn, judging the later two by the root that was signed first.
    let mut accepted: Vec<Vec<_>> = roles.iter().map(|_| Vec::new()).collect();
    for holder in [&repo.alice, &repo.carol] {
        let mut pinned: Option<PinnedRoot> = None;
        for (part, accepted) in draft.parts().iter().zip(&mut accepted) {
            let json = serde_json::to_vec(part.request()).unwrap();
            let request = serde_json::from_slice(&json).unwrap();
            let reviewed = review(&request, pinned.as_ref()).unwrap_or_else(|e| panic!("{e}"));
            let shown = reviewed.get().words("2026-11-20T00:00:00Z".parse().unwrap());
            assert!(!shown.contains("does not know"), "{shown}");
            let rebuilds = Rebuilds::Verdicts(Vec::new());
            let signed = sign(&reviewed, &holder.secret, &rebuilds);
            let signed = signed.unwrap_or_else(|e| panic!("{e}"));
            accepted.push(part.accept(signed.signature).unwrap());
            pinned = pinned.or(signed.pin);
        }
    }
    for (part, accepted) in draft.parts().iter().zip(&accepted) {
        part.complete(accepted).unwrap();
    }
}
