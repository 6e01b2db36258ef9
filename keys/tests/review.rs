//! What a keyholder is shown, and what is refused before anybody could sign it.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Repo, listing, product, published, raw_request, release, request, root, targets};
use countersign_keys::Refused;
use countersign_keys::pin::PinnedRoot;
use countersign_keys::review::{Before, Review, Reviewed, RoleReview, review};
use countersign_metadata::canonical;
use countersign_metadata::request::{Bytes, RequestSubject, SigningRequest};
use serde_json::{Value, json};

/// Makes an honest payload dishonest.
type Bend<'a> = &'a dyn Fn(&mut Value);

fn pin(bytes: Vec<u8>) -> PinnedRoot {
    PinnedRoot::published(bytes).unwrap_or_else(|e| panic!("{e}"))
}

impl Repo {
    /// Judges a request from the first root.
    fn review(&self, request: &SigningRequest) -> Result<Reviewed, Refused> {
        review(request, Some(&pin(self.published_root1())))
    }

    fn refused(&self, request: &SigningRequest) -> Refused {
        self.review(request).err().expect("it should be refused")
    }
}

fn role(reviewed: &Reviewed) -> &RoleReview {
    let Review::Role(role) = reviewed.get() else { panic!("a role") };
    role
}

fn words(reviewed: &Reviewed) -> String {
    reviewed.get().words("2026-11-20T00:00:00Z".parse().unwrap())
}

#[test]
fn a_first_root_is_shown_with_every_key_and_the_warning_that_nothing_is_known_before() {
    let repo = Repo::new();
    let asked = request("root", &repo.root1(), &[], None, None);
    let reviewed = review(&asked, None).unwrap_or_else(|e| panic!("{e}"));
    let text = words(&reviewed);
    assert!(
        text.contains("nothing is known before it") && text.contains("another channel"),
        "{text}"
    );
    for holder in repo.three() {
        assert!(
            text.contains(&format!("+ root: {}, key id {}", holder.name, holder.id())),
            "{text}"
        );
    }
    assert!(text.contains("+ root: 2 of 3 keys must sign"), "{text}");
    assert!(text.contains("+ timestamp: online, key id"), "{text}");
    assert!(reviewed.is_first_root());
    assert_eq!(role(&reviewed).signers[0].threshold, 2);
}

#[test]
fn another_first_root_is_refused_once_one_is_pinned_and_the_same_is_not() {
    let repo = Repo::new();
    let again = request("root", &repo.root1(), &[], None, None);
    assert!(repo.review(&again).is_ok());
    let other = root(1, &[&repo.stranger, &repo.bob], 1, &repo.online);
    let other = request("root", &other, &[], None, None);
    assert!(matches!(repo.refused(&other), Refused::OtherFirstRoot(1)));
}

#[test]
fn what_follows_a_root_needs_one_to_be_pinned() {
    let repo = Repo::new();
    let asked = request("targets", &targets(1, &repo.three(), 2), &[], None, None);
    assert!(matches!(review(&asked, None).err(), Some(Refused::NoPinnedRoot(_))));
}

#[test]
fn a_rotation_says_who_comes_who_goes_and_what_is_lowered() {
    let repo = Repo::new();
    let (alice, bob, stranger) = (&repo.alice, &repo.bob, &repo.stranger);
    let mut next = root(2, &[alice, bob, stranger], 1, &repo.online);
    next["x-countersign-labels"][bob.id()] = "Robert".into();
    let asked = request("root", &next, &[repo.published_root1()], None, None);
    let text = words(&repo.review(&asked).unwrap_or_else(|e| panic!("{e}")));
    for line in [
        format!("+ targets: stranger, key id {} may sign", stranger.id()),
        format!("- root: carol, key id {} may no longer sign", repo.carol.id()),
        "! LOWER: root: 1 of 3 keys must sign (before: 2)".to_owned(),
        format!("! a key that was called \"bob\" is now called: Robert, key id {}", bob.id()),
        "Signed as root version 1 by 2 of these 3 keys".to_owned(),
        "Signed as root version 2 by 1 of these 3 keys".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n\n{text}");
    }
}

#[test]
fn the_chain_is_followed_from_the_pinned_root_by_old_and_new_thresholds() {
    let repo = Repo::new();
    let (alice, bob, carol, stranger) = (&repo.alice, &repo.bob, &repo.carol, &repo.stranger);
    let second = root(2, &[alice, stranger], 2, &repo.online);
    let third = root(3, &[stranger, carol], 1, &repo.online);
    let ask = |by: &[&common::Holder]| {
        request("root", &third, &[repo.published_root1(), published(&second, by)], None, None)
    };
    let reviewed = repo.review(&ask(&[alice, bob, stranger])).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(role(&reviewed).before, Before::Last { pinned: 1, root: 2, version: 2, .. }));
    // Enough of the new but not of the old; of the old but not of the new; one key twice.
    for by in [&[alice, stranger][..], &[alice, bob], &[alice, alice]] {
        let refused = repo.refused(&ask(by));
        assert!(matches!(refused, Refused::NotSigned { .. }), "{refused}");
    }
}

#[test]
fn a_history_that_is_not_the_pinned_one_is_refused() {
    let repo = Repo::new();
    let forged = root(1, &[&repo.stranger], 1, &repo.online);
    let forged = published(&forged, &[&repo.stranger]);
    let next = targets(1, &repo.three(), 2);
    let asked = request("targets", &next, &[forged], None, None);
    assert!(matches!(repo.refused(&asked), Refused::OtherRoot(1)));

    let second = root(2, &repo.three(), 2, &repo.online);
    let pinned = pin(published(&second, &[&repo.alice, &repo.bob]));
    for roots in [vec![], vec![repo.published_root1()]] {
        let asked = request("targets", &next, &roots, None, None);
        let refused = review(&asked, Some(&pinned)).err();
        assert!(matches!(refused, Some(Refused::Behind { pinned: 2, .. })));
    }
}

#[test]
fn a_version_that_is_not_the_next_one_is_refused_in_every_role() {
    let repo = Repo::new();
    let roots = [repo.published_root1()];
    let both = [&repo.alice, &repo.bob];
    for version in [1, 2, 4] {
        let mut cases = vec![(
            "targets",
            targets(version, &repo.three(), 2),
            published(&targets(2, &repo.three(), 2), &both),
        )];
        for kind in ["snapshot", "timestamp"] {
            let last = published(&listing(kind, 2, &[]), &[&repo.online]);
            cases.push((kind, listing(kind, version, &[]), last));
        }
        for (role, payload, last) in cases {
            let asked = request(role, &payload, &roots, Some(last), None);
            assert!(matches!(repo.refused(&asked), Refused::NotNext { wanted: 3, .. }), "{role}");
        }
        let asked = repo.release_request(&product(version, &[]), Some(&product(2, &[])));
        assert!(matches!(repo.refused(&asked), Refused::NotNext { wanted: 3, .. }));
    }
    let asked = request("root", &root(3, &repo.three(), 2, &repo.online), &roots, None, None);
    assert!(matches!(repo.refused(&asked), Refused::NotNext { wanted: 2, .. }));
}

#[test]
fn a_last_version_that_strangers_signed_is_refused() {
    let repo = Repo::new();
    let last = Some(published(&targets(1, &repo.three(), 2), &[&repo.alice, &repo.stranger]));
    let next = targets(2, &repo.three(), 2);
    let asked = request("targets", &next, &[repo.published_root1()], last, None);
    assert!(matches!(repo.refused(&asked), Refused::NotSigned { .. }));
}

#[test]
fn after_all_keyholders_were_replaced_the_last_version_counts_but_everything_is_shown_as_new() {
    let repo = Repo::new();
    let (alice, bob, stranger, carol) = (&repo.alice, &repo.bob, &repo.stranger, &repo.carol);
    let second = root(2, &[stranger, carol], 2, &repo.online);
    let second = published(&second, &[alice, bob, stranger, carol]);
    let last = published(&targets(1, &repo.three(), 2), &[alice, bob]);
    let next = targets(2, &repo.three(), 2);
    let asked = request("targets", &next, &[repo.published_root1(), second], Some(last), None);
    let reviewed = repo.review(&asked).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(role(&reviewed).before, Before::Superseded { version: 1, under: 1, .. }));
    assert!(words(&reviewed).contains("+ product demo covers demo/*/*"), "{}", words(&reviewed));
}

#[test]
fn a_drafted_delegation_counts_for_a_first_version_only_and_is_called_a_draft() {
    let repo = Repo::new();
    let draft = published(&targets(1, &repo.three(), 2), &[]);
    let roots = [repo.published_root1()];
    let asked = request("demo", &product(1, &[]), &[], None, Some(draft.clone()));
    let reviewed = repo.review(&asked).unwrap_or_else(|e| panic!("{e}"));
    assert!(words(&reviewed).contains("a DRAFT"), "{}", words(&reviewed));
    let last = Some(published(&product(1, &[]), &[&repo.alice, &repo.bob]));
    let asked = request("demo", &product(2, &[]), &roots, last, Some(draft));
    assert!(matches!(repo.refused(&asked), Refused::NotSigned { .. }));
    let asked = request("demo", &product(1, &[]), &roots, None, None);
    assert!(matches!(repo.refused(&asked), Refused::NotDelegated(_)));
    let asked = request("other", &product(1, &[]), &roots, None, Some(repo.published_targets()));
    assert!(matches!(repo.refused(&asked), Refused::NotDelegated(_)));
}

#[test]
fn a_release_is_explained_whole() {
    let repo = Repo::new();
    let release = release("1.0.0");
    let asked =
        repo.release_request(&product(2, std::slice::from_ref(&release)), Some(&product(1, &[])));
    let reviewed = repo.review(&asked).unwrap_or_else(|e| panic!("{e}"));
    let text = words(&reviewed);
    for part in [
        "+ release demo 1.0.0 for linux-x86_64",
        &format!("artifact     sha256 {}, 1000 bytes", release.artifact.sha256),
        &format!("source       sha256 {}", release.source.sha256),
        &format!("recipe       sha256 {}", release.recipe),
        &format!("environment  the machine's own toolchain, sha256 {}", release.environment.sha256),
        "input        crates:left-pad@1.0.0",
        "runs         bin/demo serve --state {state}",
        "listens on   127.0.0.1:8080 (http)",
        "connects to  ntp.example:123",
        "state area   values, schema 2, migrated by: bin/demo migrate",
        "REVOKES      0.9.0",
        "notes        First release",
        "served as    sha256",
        "Delegated by targets version 1, signed by its keyholders",
        "It follows version 1",
        "Signed as demo by 2 of these 3 keys",
    ] {
        assert!(text.contains(part), "{part}\n\n{text}");
    }
    let json = serde_json::to_value(reviewed.get()).unwrap();
    assert_eq!(json["kind"], "role");
    assert_eq!(json["changes"][0]["change"], "release-added");
    assert_eq!(json["changes"][0]["release"]["version"], "1.0.0");
    assert_eq!(
        json["before"],
        json!({
            "known": "last", "pinned": 1, "root": 1, "version": 1, "expires": "2099-01-01T00:00:00Z",
        })
    );
}

#[test]
fn releases_that_vanish_or_change_are_named() {
    let repo = Repo::new();
    let (old, gone) = (release("1.0.0"), release("1.1.0"));
    let mut changed = old.clone();
    changed.node.as_mut().unwrap().connects_to.push("evil.example:443".to_owned());
    let asked = repo.release_request(&product(2, &[changed]), Some(&product(1, &[old, gone])));
    let reviewed = repo.review(&asked).unwrap_or_else(|e| panic!("{e}"));
    let text = words(&reviewed);
    assert!(
        text.contains("! release demo 1.0.0 for linux-x86_64, published before, CHANGES"),
        "{text}"
    );
    assert!(text.contains("connects to  ntp.example:123, evil.example:443"), "{text}");
    assert!(!text.contains("artifact  "), "only what differs: {text}");
    assert!(text.contains("- release demo 1.1.0 for linux-x86_64 is taken back"), "{text}");
    assert_eq!(reviewed.releases().len(), 1, "what changes is to be rebuilt too");
}

#[test]
fn bytes_that_could_be_read_in_two_ways_are_refused() {
    let repo = Repo::new();
    let canonical = canonical::to_bytes(&product(1, &[])).unwrap();
    let text = String::from_utf8(canonical).unwrap();
    let roots = [repo.published_root1()];
    for bent in [
        text.replacen('{', "{\"targets\":{\"hidden\":1},", 1),
        text.replacen('{', "{ ", 1),
        format!("{text}\n"),
    ] {
        let targets = Some(repo.published_targets());
        let asked = raw_request("demo", bent.clone().into_bytes(), &roots, None, targets);
        assert!(matches!(repo.refused(&asked), Refused::NotCanonical(_)), "{bent}");
    }
}

#[test]
fn what_a_review_could_not_show_is_refused() {
    let repo = Repo::new();
    let path = release("1.0.0").target_path();
    let bend = |f: Bend<'_>| {
        let mut payload = product(1, &[release("1.0.0")]);
        f(&mut payload);
        repo.refused(&repo.release_request(&payload, None)).to_string()
    };
    let cases: [(Bend<'_>, &str); 5] = [
        (
            &|p| p["targets"][&path]["custom"]["countersign"]["surprise"] = 1.into(),
            "cannot explain",
        ),
        (&|p| p["targets"][&path]["custom"]["else"] = 1.into(), "cannot explain"),
        (&|p| p["targets"][&path]["hashes"]["sha512"] = "00".into(), "malformed"),
        (&|p| p["targets"][&path]["custom"]["countersign"]["format"] = 2.into(), "newer"),
        (&|p| p["_type"] = "root".into(), "not \"targets\""),
    ];
    for (f, part) in cases {
        let refused = bend(f);
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let mut deeper = product(1, &[]);
    deeper["delegations"] = targets(1, &repo.three(), 2)["delegations"].clone();
    let refused = repo.refused(&repo.release_request(&deeper, None)).to_string();
    assert!(refused.contains("delegations of its own"), "{refused}");
    let mut foreign = serde_json::to_value(release("1.0.0")).unwrap();
    foreign["product"] = "other".into();
    let foreign = product(1, &[serde_json::from_value(foreign).unwrap()]);
    let refused = repo.refused(&repo.release_request(&foreign, None)).to_string();
    assert!(refused.contains("a release of other"), "{refused}");
}

#[test]
fn roles_that_would_lock_everybody_out_or_let_anybody_in_are_refused() {
    let repo = Repo::new();
    let cases: [(&str, Bend<'_>); 5] = [
        ("asks for 0 of 3", &|r| r["roles"]["root"]["threshold"] = 0.into()),
        ("asks for 4 of 3", &|r| r["roles"]["targets"]["threshold"] = 4.into()),
        ("is not that of its key", &|r| {
            r["keys"][repo.alice.id()] = repo.stranger.key().to_tuf();
        }),
        ("another minisign key", &|r| {
            r["x-countersign-minisign"] = json!({ repo.alice.id(): repo.stranger.key() });
        }),
        ("not supported", &|r| r["keys"][repo.alice.id()]["keytype"] = "rsa".into()),
    ];
    for (part, bend) in cases {
        let mut payload = repo.root1();
        bend(&mut payload);
        let refused = review(&request("root", &payload, &[], None, None), None).err().unwrap();
        assert!(refused.to_string().contains(part), "{part}: {refused}");
    }
    let mut wide = targets(1, &repo.three(), 2);
    wide["delegations"]["roles"][0]["paths"] = json!(["*/*/*"]);
    let refused = repo.refused(&request("targets", &wide, &[], None, None));
    assert!(matches!(refused, Refused::Unexplained { .. }), "{refused}");
}

#[test]
fn an_unattended_role_never_takes_a_file_back() {
    let repo = Repo::new();
    let roots = [repo.published_root1()];
    let last = listing("snapshot", 1, &[("targets.json", 2), ("demo.json", 3)]);
    let last = published(&last, &[&repo.online]);
    let ask = |files: &[(&str, u64)]| {
        request("snapshot", &listing("snapshot", 2, files), &roots, Some(last.clone()), None)
    };
    let good = ask(&[("targets.json", 2), ("demo.json", 4)]);
    let text = words(&repo.review(&good).unwrap_or_else(|e| panic!("{e}")));
    assert!(text.contains("~ demo.json: version 3 becomes 4"), "{text}");
    for files in [&[("targets.json", 1), ("demo.json", 4)][..], &[("targets.json", 2)]] {
        assert!(matches!(repo.refused(&ask(files)), Refused::Rollback { .. }));
    }
}

#[test]
fn text_that_plays_with_the_terminal_is_spelled_out() {
    let repo = Repo::new();
    let mut payload = repo.root1();
    payload["x-countersign-labels"][repo.alice.id()] = "bob\u{202e}ecila".into();
    payload["a field"] = "x\u{7f}\u{9b}2J".into();
    let reviewed = review(&request("root", &payload, &[], None, None), None);
    let text = words(&reviewed.unwrap_or_else(|e| panic!("{e}")));
    assert!(!text.contains('\u{202e}') && !text.contains('\u{9b}') && !text.contains('\u{7f}'));
    assert!(text.contains("bob\\u{202e}ecila"), "{text}");
    assert!(text.contains("does not know: a field"), "{text}");
}

#[test]
fn a_root_with_a_p256_key_is_explained_though_its_bytes_hold_line_ends() {
    let repo = Repo::new();
    let pem = include_str!("../../metadata/src/key/test-vectors/p256.pem");
    let key = countersign_metadata::PublicKey::from_file_text(pem).unwrap();
    let mut root = repo.root1();
    let id = key.id().to_string();
    root["keys"][&id] = key.to_tuf();
    root["x-countersign-labels"][&id] = "Dora".into();
    root["roles"]["root"]["keyids"].as_array_mut().unwrap().push(id.clone().into());
    let asked = request("root", &root, &[], None, None);
    let countersign_metadata::request::RequestSubject::Role { payload, .. } = &asked.subject else {
        panic!()
    };
    assert!(payload.0.contains(&b'\n'), "TUF signs the PEM as it is");
    let reviewed = review(&asked, None).unwrap_or_else(|e| panic!("{e}"));
    let text = words(&reviewed);
    assert!(text.contains(&format!("+ root: Dora, key id {id} may sign")), "{text}");
    // The same key under another identifier, or in another wrapping, is not the key that was compared.
    let mut bent = root.clone();
    bent["keys"][&id]["keyval"]["public"] =
        pem.replace("Dgtz", "Dgtz\n").replace('\n', "\n ").into();
    let wrapped = review(&request("root", &bent, &[], None, None), None);
    assert!(wrapped.is_ok(), "white space in PEM is no other key");
    bent["keys"][&id]["keyval"]["public"] = repo.alice.key().to_pem().into();
    assert!(review(&request("root", &bent, &[], None, None), None).is_err());
}

/// Targets that list a `trusted_root.json`, and the request with the file that came along.
fn with_trusted_root(repo: &Repo, listed: &[u8], came: Option<&[u8]>) -> SigningRequest {
    let mut next = targets(2, &repo.three(), 2);
    let hashes = json!({ "sha256": countersign_metadata::Sha256::of(listed) });
    next["targets"]["trusted_root.json"] = json!({ "length": listed.len(), "hashes": hashes });
    let last = Some(repo.published_targets());
    let mut asked = request("targets", &next, &[repo.published_root1()], last, None);
    if let RequestSubject::Role { trusted_root, .. } = &mut asked.subject {
        *trusted_root = came.map(|bytes| Bytes(bytes.to_vec()));
    }
    asked
}

const TRUSTED_ROOT: &[u8] = br#"{
    "tlogs": [{ "baseUrl": "https://log.example/\u202e", "publicKey": { "rawBytes": "AQ==",
        "validFor": { "start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z" } } }],
    "certificateAuthorities": [{ "uri": "https://authority.example",
        "certChain": { "certificates": [{ "rawBytes": "Ag==" }] } }] }"#;

#[test]
fn a_trusted_root_is_told_with_everybody_in_it_and_only_as_the_file_that_is_signed() {
    let repo = Repo::new();
    let asked = with_trusted_root(&repo, TRUSTED_ROOT, Some(TRUSTED_ROOT));
    let text = words(&repo.review(&asked).unwrap_or_else(|e| panic!("{e}")));
    for said in [
        "+ trusted_root.json: by it nodes believe keyless (Sigstore) statements",
        "authority    https://authority.example, at all times",
        "log          https://log.example/\\u{202e}, from 2025-01-01 until 2026-01-01",
        &format!("key sha256 {}", countersign_metadata::Sha256::of(&[1])),
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let alone = with_trusted_root(&repo, TRUSTED_ROOT, None);
    let text = words(&repo.review(&alone).unwrap_or_else(|e| panic!("{e}")));
    assert!(text.contains("did not travel with this request"), "{text}");

    let other = with_trusted_root(&repo, TRUSTED_ROOT, Some(b"{}"));
    assert!(matches!(repo.refused(&other), Refused::Unexplained { .. }));
    let none = with_trusted_root(&repo, b"no root", Some(b"no root"));
    assert!(matches!(repo.refused(&none), Refused::Malformed { .. }));
}

#[test]
fn another_target_of_the_top_level_role_than_the_trusted_root_cannot_be_explained() {
    let repo = Repo::new();
    let asked = |path: &str, custom: bool| {
        let mut next = targets(2, &repo.three(), 2);
        let hashes = json!({ "sha256": countersign_metadata::Sha256::of(b"") });
        next["targets"][path] = json!({ "length": 0, "hashes": hashes });
        if custom {
            next["targets"][path]["custom"] = json!({ "x": 1 });
        }
        let last = Some(repo.published_targets());
        repo.review(&request("targets", &next, &[repo.published_root1()], last, None)).is_ok()
    };
    assert!(asked("trusted_root.json", false));
    assert!(!asked("other.json", false) && !asked("trusted_root.json", true));
}
