//! What the repository manager drafts is explained, signed and accepted: both sides of the signer protocol.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeMap;
use std::error::Error;

use common::program::Desk;
use common::{Holder, Repo, release};
use countersign_keys::pin::PinnedRoot;
use countersign_keys::review::{review, review_each};
use countersign_keys::sign::{Rebuilds, sign};
use countersign_metadata::authoring::{
    self, Draft, Expiry, OnlineSigner, Plan, Publication, Published, Rotation,
};
use countersign_metadata::release::Blob;
use countersign_metadata::request::{
    FORMAT, Renewal, RequestSubject, Signature, Signatures, SigningRequest,
};
use countersign_metadata::trust::{Source, SourceError};
use countersign_metadata::{Delta, Release, Rollout, Sha256};

/// A repository that is drafted and published in memory; `said` is what keyholders were shown about each role.
#[derive(Default)]
struct Site {
    files: BTreeMap<String, Vec<u8>>,
    said: BTreeMap<String, String>,
}

impl Source for &Site {
    fn fetch(&mut self, path: &str, _max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.files.get(path).cloned())
    }
}

struct Online<'a>(&'a Holder);

impl OnlineSigner for Online<'_> {
    fn sign(
        &mut self,
        request: &SigningRequest,
    ) -> Result<Signature, Box<dyn Error + Send + Sync>> {
        let message = request.message();
        Ok(Signature {
            format: FORMAT,
            message: Sha256::of(&message),
            key: *self.0.key(),
            label: String::new(),
            signature: self.0.raw(&message),
            minisig: None,
            rebuilt: None,
            waiver: None,
            vouched: None,
        })
    }
}

const EXPIRES: &str = "2099-01-01T00:00:00Z";

fn holder(h: &Holder) -> authoring::Holder {
    authoring::Holder { label: h.name.to_owned(), key: *h.key() }
}

impl Site {
    fn new(repo: &Repo, bins: Option<u32>) -> Self {
        let plan = Plan {
            products: vec!["demo".parse().unwrap()],
            keyholders: repo.three().map(holder).to_vec(),
            threshold: 2,
            online: holder(&repo.online),
            expires: EXPIRES.parse().unwrap(),
        };
        let mut site = Self::default();
        let draft = match bins {
            None => Draft::init(&plan).unwrap(),
            Some(bins) => Draft::init_with_bins(&plan, Some(bins.try_into().unwrap())).unwrap(),
        };
        site.publish(&draft, &[&repo.alice, &repo.carol], &repo.online);
        site
    }

    fn published(&self) -> Option<Published> {
        Published::read(&mut { self }).unwrap()
    }

    /// Every keyholder reviews and signs every role, judging by the published root or by the one just signed.
    fn publish(&mut self, draft: &Draft, by: &[&Holder], online: &Holder) {
        let published = self.published();
        let mut accepted: Vec<Vec<_>> = draft.parts().iter().map(|_| Vec::new()).collect();
        for holder in by {
            let root = self.files.get("metadata/1.root.json").cloned();
            let mut pinned =
                root.map(|root| PinnedRoot::published(root).unwrap_or_else(|e| panic!("{e}")));
            for (part, accepted) in draft.parts().iter().zip(&mut accepted) {
                let json = serde_json::to_vec(&part.request()).unwrap();
                let request = serde_json::from_slice(&json).unwrap();
                let reviewed = review(&request, pinned.as_ref());
                let reviewed = reviewed.unwrap_or_else(|e| panic!("{}: {e}", part.role()));
                let shown = reviewed.get().words("2026-11-20T00:00:00Z".parse().unwrap());
                assert!(!shown.contains("does not know"), "{shown}");
                self.said.insert(part.role().to_owned(), shown);
                let signed = sign(&reviewed, &holder.secret, &Rebuilds::WithoutRebuild);
                let signed = signed.unwrap_or_else(|e| panic!("{}: {e}", part.role()));
                assert_eq!(signed.signature.waiver.is_some(), !part.releases().is_empty());
                accepted.push(part.accept(signed.signature).unwrap());
                pinned = pinned.or(signed.pin);
            }
        }
        let signed = draft.parts().iter().zip(&accepted).map(|(p, a)| p.complete(a).unwrap());
        let expires = EXPIRES.parse().unwrap();
        let expiry = Expiry { snapshot: expires, timestamp: expires, renew: expires };
        let made = Publication::prepare(
            published.as_ref(),
            signed.collect(),
            expiry,
            &mut { &*self },
            &mut Online(online),
        );
        let made = made.unwrap();
        self.files.extend(made.files().iter().cloned());
        self.files.insert("metadata/timestamp.json".to_owned(), made.timestamp().to_vec());
        self.files.extend(made.after().cloned());
    }

    fn release(&mut self, repo: &Repo, release: &Release) {
        self.release_with(repo, release, &[]);
    }

    fn release_with(&mut self, repo: &Repo, release: &Release, deltas: &[Delta]) {
        let mut published = self.published().unwrap();
        published.load_bin_of(release, &mut { &*self }).unwrap();
        let served = Blob { sha256: Sha256::of(b"served"), length: 6 };
        let (new, expires) = ((served, deltas), EXPIRES.parse().unwrap());
        let draft = Draft::release_with_deltas(&published, release, new, expires).unwrap();
        self.publish(&draft, &[&repo.alice, &repo.bob], &repo.online);
    }

    fn revoke(&mut self, repo: &Repo, version: &str) {
        let product = "demo".parse().unwrap();
        let mut published = self.published().unwrap();
        published.load_bins(&product, &mut { &*self }).unwrap();
        let version = version.parse().unwrap();
        let draft = Draft::revoke(&published, &product, &version, EXPIRES.parse().unwrap());
        self.publish(&draft.unwrap(), &[&repo.alice, &repo.bob], &repo.online);
    }

    fn said(&self, role: &str, part: &str) {
        let said = &self.said[role];
        assert!(said.contains(part), "{part}\n\n{said}");
    }
}

#[test]
fn a_new_repository_is_signed_by_two_of_three_keyholders_and_releases_and_revokes() {
    let repo = Repo::new();
    let mut site = Site::new(&repo, None);
    assert_eq!(site.said.keys().collect::<Vec<_>>(), ["demo", "root", "targets"]);
    site.release(&repo, &release("1.0.0"));
    site.said("demo", "+ release demo 1.0.0 for linux-x86_64");
    site.revoke(&repo, "1.0.0");
    site.said("demo", "! demo 1.0.0 is REVOKED: nodes must leave it");
}

#[test]
fn a_delta_is_signed_and_shown_with_the_release_that_it_leads_to() {
    let repo = Repo::new();
    let mut site = Site::new(&repo, None);
    let (from, sha256) = (Sha256::of(b"what nodes hold"), Sha256::of(b"delta"));
    site.release_with(&repo, &release("1.1.0"), &[Delta { from, sha256, length: 5 }]);
    site.said("demo", &format!("from artifact {}: sha256 {sha256}, 5 bytes", from.short()));
}

#[test]
fn a_rollout_is_signed_by_keyholders_who_read_in_words_what_changes() {
    let repo = Repo::new();
    let mut site = Site::new(&repo, None);
    site.release(&repo, &release("1.0.0"));
    let mut say = |rollout: &Rollout| {
        let (product, version) = ("demo".parse().unwrap(), "1.0.0".parse().unwrap());
        let published = site.published().unwrap();
        let expires = EXPIRES.parse().unwrap();
        let draft = Draft::rollout(&published, &product, &version, rollout, expires).unwrap();
        site.publish(&draft, &[&repo.alice, &repo.bob], &repo.online);
        site.said["demo"].clone()
    };
    let week = Rollout { window_seconds: Some(604_800), ..Rollout::default() };
    let said = say(&week);
    assert!(said.contains("~ rollout of demo 1.0.0: nodes spread over 7 d"), "{said}");
    assert!(said.contains("before: each node by its operator's own delay"), "{said}");
    assert!(!said.contains("+ release"), "nothing is released, so nobody rebuilds: {said}");
    let said = say(&Rollout { cancelled: Some("it leaks".to_owned()), ..week });
    assert!(
        said.contains("! rollout of demo 1.0.0: CANCELLED: no node takes it (it leaks)"),
        "{said}"
    );
}

#[test]
fn a_whole_circle_is_replaced_and_both_circles_understand_what_they_sign() {
    let repo = Repo::new();
    let mut site = Site::new(&repo, None);
    site.release(&repo, &release("1.0.0"));
    let [dave, erin] = ["dave", "erin"].map(Holder::new);
    let rotation = Rotation {
        add: [&dave, &erin].map(holder).to_vec(),
        remove: ["alice", "bob", "carol"].map(str::to_owned).to_vec(),
        threshold: None,
        online: None,
        products: Vec::new(),
        bins: None,
        renew: false,
        expires: EXPIRES.parse().unwrap(),
    };
    let draft = Draft::rotate(&site.published().unwrap(), &rotation).unwrap();
    site.publish(&draft, &[&repo.alice, &repo.bob, &dave, &erin], &repo.online);
    site.said("root", "+ root: dave");
    site.said("root", "- root: alice");
    site.said("targets", "by the DRAFT of root version 2");
    site.said("demo", "a DRAFT that its keyholders have not signed yet");
    site.said("demo", "It follows version 2 (signed as it must be");
    // From here on the new circle is alone.
    let next = Repo { alice: dave, bob: erin, ..repo };
    site.release(&next, &release("1.1.0"));
    site.said("demo", "+ release demo 1.1.0");
}

#[test]
fn bins_and_their_index_are_explained_and_a_release_in_the_wrong_bin_is_refused() {
    let repo = Repo::new();
    let mut site = Site::new(&repo, Some(16));
    site.said("demo", "keeps its releases in 16 bins");
    site.said("demo.index", "Delegated by demo version 1, a DRAFT");
    let one = release("1.0.0");
    site.release(&repo, &one);
    site.said("demo.index", "lists 1.0.0 for linux-x86_64");
    let bin = site.said.keys().find(|r| r.starts_with("demo.") && *r != "demo.index").unwrap();
    let bin = bin.clone();
    site.said(&bin, "+ release demo 1.0.0 for linux-x86_64");
    site.said(&bin, "Delegated by demo version 1, signed by its keyholders");
    site.release(&repo, &release("1.1.0"));
    site.revoke(&repo, "1.0.0");
    site.said("demo.index", "1.0.0 is REVOKED");

    // The same bytes, asked for as another bin.
    let mut published = site.published().unwrap();
    let two = release("2.0.0");
    published.load_bin_of(&two, &mut { &site }).unwrap();
    let served = Blob { sha256: Sha256::of(b"served"), length: 6 };
    let draft = Draft::release(&published, &two, served, EXPIRES.parse().unwrap()).unwrap();
    let part = draft.parts().iter().find(|p| p.role() != "demo.index").unwrap();
    let json = serde_json::to_string(&part.request()).unwrap();
    let other = if part.role() == "demo.0" { "demo.1" } else { "demo.0" };
    for wrong in [other, "demo.g", "demo.16", "demo.index"] {
        let bent = json.replace(&format!("{:?}", part.role()), &format!("{wrong:?}"));
        let root = PinnedRoot::published(site.files["metadata/1.root.json"].clone());
        let root = root.unwrap_or_else(|e| panic!("{e}"));
        assert!(review(&serde_json::from_str(&bent).unwrap(), Some(&root)).is_err(), "{wrong}");
    }
}

#[test]
fn a_renewal_of_bins_is_said_in_words_and_signed_by_the_new_circle_alone() {
    let repo = Repo::new();
    let mut site = Site::new(&repo, Some(16));
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        site.release(&repo, &release(version));
    }
    let dave = Holder::new("dave");
    let rotation = Rotation {
        add: vec![holder(&dave)],
        remove: vec!["alice".to_owned()],
        threshold: None,
        online: None,
        products: Vec::new(),
        bins: None,
        renew: false,
        expires: EXPIRES.parse().unwrap(),
    };
    let mut published = site.published().unwrap();
    published.load_bins(&"demo".parse().unwrap(), &mut { &site }).unwrap();
    let draft = Draft::rotate(&published, &rotation).unwrap();
    let root = site.files["metadata/1.root.json"].clone();
    let root = PinnedRoot::published(root).unwrap_or_else(|e| panic!("{e}"));
    let now = "2026-11-20T00:00:00Z".parse().unwrap();

    let product = draft.parts().iter().find(|p| p.role() == "demo").unwrap();
    let reviewed = review(&product.request(), Some(&root)).unwrap_or_else(|e| panic!("{e}"));
    let words = reviewed.get().words(now);
    assert!(words.contains("+ demo.*: dave") && words.contains("- demo.*: alice"), "{words}");

    // As it comes out of a file.
    let is_renewal = |r: &&SigningRequest| matches!(r.subject, RequestSubject::Renewal(_));
    let renewal = draft.requests().iter().find(is_renewal).unwrap();
    let json = serde_json::to_string(renewal).unwrap();
    let renewal: SigningRequest = serde_json::from_str(&json).unwrap();
    let many = review_each(&renewal, Some(&root)).unwrap_or_else(|e| panic!("{e}"));
    let words = many.words(now);
    for said in [
        format!("Renewal of {} roles", many.each().len()),
        format!("In {} of them nothing changes but the version and the expiry", many.each().len()),
        "Delegated by demo version 2, a DRAFT".to_owned(),
        "It follows version 4 (signed as it must be".to_owned(),
        dave.id(),
    ] {
        assert!(words.contains(&said), "{said} is not in: {words}");
    }
    let none = Rebuilds::Verdicts(Vec::new());
    for reviewed in many.each() {
        assert!(sign(reviewed, &repo.alice.secret, &none).is_err(), "alice has left");
        let signed = sign(reviewed, &dave.secret, &none).unwrap_or_else(|e| panic!("{e}"));
        let accepted = draft.parts().iter().find(|p| *p.digest() == signed.signature.message);
        accepted.unwrap().accept(signed.signature).unwrap();
    }
    assert!(review(&renewal, Some(&root)).is_err(), "many are not one");

    // As dave meets it.
    let desk = Desk::new();
    desk.put_key(&dave);
    desk.put("1.root.json", &site.files["metadata/1.root.json"]);
    desk.put_request("renewal.json", &renewal);
    let shown = desk.run("review --root 1.root.json renewal.json").done();
    assert!(shown.contains("nothing changes but the version and the expiry"), "{shown}");
    let json = desk.run("review --json --root 1.root.json renewal.json").done();
    let json: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!((json.len(), &json[0]["role"]), (many.each().len(), &"demo.index".into()));
    let signed = desk.run("sign --yes --key dave.key --root 1.root.json renewal.json").done();
    let signed: Signatures = serde_json::from_str(&signed).unwrap();
    assert_eq!(signed.signatures.len(), many.each().len());
    for signature in signed.signatures {
        let part = draft.parts().iter().find(|p| *p.digest() == signature.message);
        part.unwrap().accept(signature).unwrap();
    }
    // A stock tool signs one file at a time.
    let export = "export-message --root 1.root.json -o message renewal.json";
    desk.run(export).failed(2, "a renewal of many roles");
    desk.run(&format!("{export} --role demo.nowhere")).failed(3, "no such role");
    desk.run(&format!("{export} --role demo.index")).done();
    let index = draft.parts().iter().find(|p| p.role() == "demo.index").unwrap();
    assert_eq!(std::fs::read(desk.path("message")).unwrap(), index.message());

    // What its keyholders have not signed is not renewed, and neither is a product's role that is not the next one.
    let RequestSubject::Renewal(renewal) = renewal.subject else { panic!() };
    let refused = |bend: &dyn Fn(&mut Renewal)| {
        let mut bent = renewal.clone();
        bend(&mut bent);
        let request = SigningRequest { format: FORMAT, subject: RequestSubject::Renewal(bent) };
        review_each(&request, Some(&root)).is_err()
    };
    assert!(!refused(&|_| {}));
    assert!(refused(&|bent| bent.files.clear()));
    for role in ["root", "targets", "demo", "other.index", "demo.ff"] {
        assert!(refused(&|bent| bent.files[0].role = role.to_owned()), "{role}");
    }
    assert!(refused(&|bent| bent.drafted = bent.published.clone()));
    assert!(refused(&|bent| bent.published = bent.drafted.clone()));
    assert!(refused(&|bent| bent.files[1].role = bent.files[0].role.clone()));
    assert!(refused(&|bent| {
        let text = String::from_utf8(bent.files[1].last.0.clone()).unwrap();
        bent.files[1].last.0 = text.replace("First release", "Other release").into_bytes();
    }));
}
