//! Keyholders and keys come and go; every client follows, at every moment of the publication.

use std::fs;

use countersign_metadata::trust::Kept;
use serde_json::Value;

use crate::interrupted::{files, restore};
use crate::site::{Run, Site};

/// Dave, Erin and Frank for Alice, Bob and Carol.
pub(crate) const REPLACE_ALL: [&str; 12] = [
    "--remove",
    "alice",
    "--remove",
    "bob",
    "--remove",
    "carol",
    "--add",
    "dave=dave.pub",
    "--add",
    "erin=erin.pub",
    "--add",
    "frank=frank.pub",
];

pub(crate) fn rotate(site: &Site, arguments: &[&str]) -> Run {
    site.run(&[&["rotate", "--repo", "REPO"], arguments].concat())
}

pub(crate) fn drafted(run: &Run) -> String {
    assert_eq!(run.code, 0, "{}", run.json);
    run.json["draft"].as_str().unwrap().to_owned()
}

fn metadata(site: &Site, file: &str) -> Value {
    let bytes = fs::read(site.path("REPO/public/metadata").join(file)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_full_threshold_is_replaced_at_once() {
    let site = Site::released();
    let (_, kept) = site.follow(&Kept::new()).unwrap();
    let draft = drafted(&rotate(&site, &REPLACE_ALL));
    assert_eq!(site.requests(&draft).len(), 3, "root, targets and demo");

    // Both circles must sign, and `status` says which of them is still missing.
    site.sign(&draft, &[4, 5]);
    let status = site.run(&["status", "--repo", "REPO"]).json;
    let circles = &status["drafts"][0]["roles"][0]["circles"];
    let labels = |circle: &Value| {
        let keys = circle["can_sign"].as_array().unwrap().iter();
        let mut labels: Vec<_> = keys.map(|k| k["label"].as_str().unwrap().to_owned()).collect();
        labels.sort();
        labels
    };
    assert_eq!((&circles[0]["missing"], &circles[1]["missing"]), (&0.into(), &2.into()));
    assert_eq!(labels(&circles[0]), ["frank"]);
    assert_eq!(labels(&circles[1]), ["alice", "bob", "carol"]);
    assert_eq!(site.publish(9).code, 1);
    site.sign(&draft, &[1, 3]);
    assert_eq!(site.publish(9).code, 0);

    // A fresh client and one that has followed so far.
    assert_eq!(site.client().unwrap().verified.len(), 1);
    assert_eq!(site.follow(&kept).unwrap().0.verified.len(), 1);
    assert_eq!(metadata(&site, "2.root.json")["signed"]["version"], 2);

    // From now on the new ones sign, and the old ones do not count.
    site.build("OUT", "1.1.0");
    let draft = drafted(&site.draft("OUT"));
    let old = site.answer(&site.requests(&draft)[0], 1, |_| {});
    assert_eq!(site.run(&["merge", "--repo", "REPO", &old]).code, 6);
    site.sign(&draft, &[5, 6]);
    assert_eq!(site.publish(9).code, 0);
    let (releases, _) = site.follow(&kept).unwrap();
    let signers: Vec<_> = releases.verified[1].signers().iter().map(|s| s.label()).collect();
    assert!(signers.contains(&"erin") && signers.contains(&"frank") && signers.len() == 2);
}

#[test]
fn requests_carry_what_a_signer_needs_when_keys_were_replaced() {
    let site = Site::released();
    let draft = drafted(&rotate(&site, &REPLACE_ALL));
    let request = |role: &str| -> Value {
        let path = site.path("REPO/drafts").join(&draft).join(format!("{role}.request.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let (root, targets, demo) = (request("root"), request("targets"), request("demo"));
    assert!(root["delegator"].is_null() && root["last"].is_string());
    assert!(targets["delegator"].is_string(), "the drafted root");
    assert!(demo["delegator"].is_string(), "the drafted targets");
    assert_eq!(demo["targets"], targets["last"], "the published targets prove the last demo");
}

/// Every state that a reader can meet while the draft is published, oldest first; the last one is complete.
pub(crate) fn moments(
    site: &Site,
    publish: impl Fn() -> Run,
) -> Vec<std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>> {
    let public = site.path("REPO/public");
    let before = files(&public);
    let run = publish();
    assert_eq!(run.code, 0, "{}", run.json);
    let after = files(&public);
    let mut written: Vec<_> = after.keys().filter(|p| before.get(*p) != after.get(*p)).collect();
    let root_last = metadata(site, "timestamp.json")["signatures"].as_array().unwrap().len() == 2
        || metadata(site, "2.root.json")["signed"]["roles"]["timestamp"]
            == metadata(site, "1.root.json")["signed"]["roles"]["timestamp"];
    written.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        match (&*name, root_last) {
            ("timestamp.json", _) => 2,
            ("2.root.json", true) => 3,
            ("2.root.json", false) => 1,
            _ => 0,
        }
    });
    let mut state = before;
    let mut states = vec![state.clone()];
    for path in written {
        state.insert(path.clone(), after[path].clone());
        states.push(state.clone());
    }
    states
}

#[test]
fn clients_can_follow_at_every_moment_of_a_rotation_and_a_dead_publisher_is_resumed() {
    let site = Site::released();
    let (_, kept) = site.follow(&Kept::new()).unwrap();
    let draft =
        drafted(&rotate(&site, &[&REPLACE_ALL[..], &["--online", "online=online2.pub"]].concat()));
    site.sign(&draft, &[1, 2, 4, 5]);
    let (new, old) = (Site::signer(10), Site::signer(9));
    let publish = || {
        let arguments = ["publish", "--repo", "REPO", &draft, "--signer", &new];
        site.run(&[&arguments[..], &["--previous-signer", &old]].concat())
    };
    let states = moments(&site, publish);
    assert!(states.len() > 6);
    for (step, state) in states.iter().enumerate() {
        restore(&site.path("REPO/public"), state);
        assert_eq!(site.client().unwrap().verified.len(), 1, "a fresh client at step {step}");
        let (_, now) = site.follow(&kept).unwrap();
        let run = publish();
        assert_eq!(run.code, 0, "{step}: {}", run.json);
        assert_eq!(site.follow(&now).unwrap().0.verified.len(), 1, "and on from step {step}");
        assert!(site.path("REPO/public/metadata/2.root.json").exists());
    }
    // The old online key is done.
    assert_eq!(site.run(&["refresh", "--repo", "REPO", "--signer", &old]).code, 4);
    assert_eq!(site.run(&["refresh", "--repo", "REPO", "--signer", &new]).code, 0);
    assert_eq!(site.follow(&kept).unwrap().0.verified.len(), 1);
}

#[test]
fn a_lost_online_key_is_replaced_without_it_and_that_too_can_be_resumed() {
    let site = Site::released();
    let (_, kept) = site.follow(&Kept::new()).unwrap();
    let draft = drafted(&rotate(&site, &["--online", "online=online2.pub"]));
    assert_eq!(site.requests(&draft).len(), 1, "root alone");
    site.sign(&draft, &[1, 2]);
    let new = Site::signer(10);
    let publish = || site.run(&["publish", "--repo", "REPO", &draft, "--signer", &new]);
    for state in &moments(&site, publish) {
        restore(&site.path("REPO/public"), state);
        let run = publish();
        assert_eq!(run.code, 0, "{}", run.json);
        assert_eq!(site.client().unwrap().verified.len(), 1);
        assert_eq!(site.follow(&kept).unwrap().0.verified.len(), 1);
    }
}

#[test]
fn renewal_drafts_everything_that_keyholders_sign_with_a_later_expiry() {
    let site = Site::released();
    assert_eq!(rotate(&site, &[]).code, 3, "nothing would change");
    let draft = drafted(&rotate(&site, &["--renew", "--expires", "2y"]));
    site.sign(&draft, &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    let run = site.run(&["check", "--repo", "REPO", "--within", "18mo"]);
    let soon: Vec<_> =
        run.json["expiring"].as_array().unwrap().iter().map(|r| &r["role"]).collect();
    assert_eq!(soon, ["snapshot", "timestamp"]);
    assert_eq!(site.client().unwrap().verified.len(), 1);
}

#[test]
fn a_product_joins_without_a_new_root() {
    let site = Site::released();
    let draft = drafted(&rotate(&site, &["--product", "second"]));
    assert_eq!(site.requests(&draft).len(), 2, "targets and second");
    site.sign(&draft, &[1, 3]);
    assert_eq!(site.publish(9).code, 0);
    assert!(site.path("REPO/public/metadata/1.second.json").exists());
    assert_eq!(rotate(&site, &["--product", "second"]).code, 2);
}

#[test]
fn rotations_that_make_no_sense_are_refused() {
    let site = Site::released();
    for (arguments, words) in [
        (&["--remove", "zoe"][..], "is no keyholder"),
        (&["--remove", "alice", "--remove", "bob"], "threshold of 2 makes no sense for 1"),
        (&["--threshold", "4"], "threshold of 4"),
        (&["--add", "alice=dave.pub"], "names no key or two"),
        (&["--add", "dave=alice.pub"], "is given twice"),
    ] {
        let run = rotate(&site, arguments);
        let error = run.json["error"].as_str().unwrap();
        assert!(run.code == 2 && error.contains(words), "{words}: {error}");
    }
    assert_eq!(fs::read_dir(site.path("REPO/drafts")).unwrap().count(), 2);
}
