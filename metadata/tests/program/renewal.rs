//! Keyholders of a product with hash bins come and go: all of its bins are signed anew in one ceremony.

use std::fs;

use countersign_metadata::request::{RequestSubject, SigningRequest};
use countersign_metadata::trust::Kept;
use countersign_metadata::{Platform, Product, Version};
use jiff::Timestamp;
use serde_json::Value;

use crate::bins::{MANY, client, site};
use crate::interrupted::restore;
use crate::rotation::{REPLACE_ALL, drafted, moments, rotate};
use crate::site::Site;
use crate::strangers::python_tuf_reads;

fn request(site: &Site, draft: &str) -> SigningRequest {
    let path = site.path("REPO/drafts").join(draft).join("demo.renewal-1.request.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every version that was ever released is found by a client that begins from the first root.
fn all_are_there(site: &Site, signers: &[&str]) {
    let (mut trust, mut source) = client(site);
    let product: Product = "demo".parse().unwrap();
    let platform: Platform = "linux-x86_64".parse().unwrap();
    for version in MANY {
        let version: Version = version.parse().unwrap();
        let now = Timestamp::now();
        let found = trust.release(&product, &version, &platform, now, &mut source).unwrap();
        let found = found.unwrap();
        let mut labels: Vec<_> = found.signers().iter().map(|s| s.label().to_owned()).collect();
        labels.sort();
        assert_eq!(labels, signers, "{version}");
    }
}

#[test]
fn a_full_threshold_of_a_product_with_bins_is_replaced_at_once() {
    let site = site(&MANY);
    let (_, kept) = site.follow(&Kept::new()).unwrap();
    let draft = drafted(&rotate(&site, &REPLACE_ALL));
    let mut names: Vec<_> = site.requests(&draft);
    let names = names.iter_mut().map(|p| p.file_name().unwrap().to_str().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        [
            "demo.renewal-1.request.json",
            "demo.request.json",
            "root.request.json",
            "targets.request.json"
        ]
    );
    let RequestSubject::Renewal(renewal) = request(&site, &draft).subject else { panic!() };
    let bins = renewal.files.len();
    assert!(bins > 2 && renewal.files[0].role == "demo.index");

    // The new circle alone signs what is below the product; the product's role itself is signed by both.
    site.sign(&draft, &[4, 5]);
    let status = site.run(&["status", "--repo", "REPO"]).json;
    let roles = status["drafts"][0]["roles"].as_array().unwrap();
    let missing = |role: &str| {
        let role = roles.iter().find(|r| r["role"] == role).unwrap();
        (role["missing"].clone(), role["circles"].as_array().unwrap().len())
    };
    assert_eq!(missing("demo.index"), (0.into(), 1));
    assert_eq!(missing("demo"), (2.into(), 2));
    assert_eq!(site.publish(9).code, 1);
    for request in site.requests(&draft) {
        if !request.to_string_lossy().contains("renewal") {
            for seed in [1, 3] {
                let file = site.answer(&request, seed, |_| {});
                assert_eq!(site.run(&["merge", "--repo", "REPO", &file]).code, 0);
            }
        }
    }
    assert_eq!(site.publish(9).code, 0);
    all_are_there(&site, &["dave", "erin"]);
    assert_eq!(site.follow(&kept).unwrap().0.verified.len(), 4, "a client of before goes on");
    for version in MANY {
        python_tuf_reads(&site, version);
    }

    // The new circle releases into a bin, and the old one cannot any more.
    site.build("OUT", "2.0.0");
    let draft = drafted(&site.draft("OUT"));
    let old = site.answer(&site.requests(&draft)[0], 1, |_| {});
    assert_eq!(site.run(&["merge", "--repo", "REPO", &old]).code, 6);
    site.sign(&draft, &[5, 6]);
    assert_eq!(site.publish(9).code, 0);
    python_tuf_reads(&site, "2.0.0");
}

#[test]
fn a_keyholder_joins_a_product_with_bins_and_clients_follow_at_every_moment() {
    let site = site(&MANY[..3]);
    let (_, kept) = site.follow(&Kept::new()).unwrap();
    let draft = drafted(&rotate(&site, &["--add", "dave=dave.pub", "--threshold", "3"]));
    site.sign(&draft, &[1, 2, 4]);
    let signer = Site::signer(9);
    let publish = || site.run(&["publish", "--repo", "REPO", &draft, "--signer", &signer]);
    let states = moments(&site, publish);
    for (step, state) in states.iter().enumerate() {
        restore(&site.path("REPO/public"), state);
        assert_eq!(site.client().unwrap().verified.len(), 3, "a fresh client at step {step}");
        let (_, now) = site.follow(&kept).unwrap();
        let run = publish();
        assert_eq!(run.code, 0, "{step}: {}", run.json);
        assert_eq!(site.follow(&now).unwrap().0.verified.len(), 3, "and on from step {step}");
    }
    let (mut trust, mut source) = client(&site);
    let found = trust.releases(&"demo".parse().unwrap(), Timestamp::now(), &mut source).unwrap();
    assert!(found.verified.iter().all(|t| t.threshold() == 3 && t.signers().len() == 3));
}

#[test]
fn a_renewal_says_nothing_but_what_is_published() {
    let site = site(&MANY[..2]);
    let draft = drafted(&rotate(&site, &["--renew", "--expires", "2y"]));
    let RequestSubject::Renewal(renewal) = request(&site, &draft).subject else { panic!() };
    let public = site.path("REPO/public/metadata");
    for renewed in &renewal.files {
        let RequestSubject::Role { payload, .. } = renewal.request(renewed).unwrap().subject else {
            panic!()
        };
        let signed: Value = serde_json::from_slice(&payload.0).unwrap();
        let version = signed["version"].as_u64().unwrap();
        let last = fs::read(public.join(format!("{}.{}.json", version - 1, renewed.role))).unwrap();
        let mut last: Value = serde_json::from_slice(&last).unwrap();
        last["signed"]["version"] = version.into();
        last["signed"]["expires"] = signed["expires"].clone();
        assert_eq!(last["signed"], signed);
    }
    // Half of an answer is not taken in.
    let renewal = site.requests(&draft).remove(0);
    let bent = site.answer(&renewal, 1, |last| last.signature[0] ^= 1);
    let run = site.run(&["merge", "--repo", "REPO", &bent]);
    assert_eq!(run.code, 6, "{}", run.json);
    let signatures = site.path("REPO/drafts").join(&draft).join("signatures");
    assert_eq!(fs::read_dir(signatures).unwrap().count(), 0);
    site.sign(&draft, &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    assert_eq!(site.client().unwrap().verified.len(), 2);
}

#[test]
fn a_product_joins_with_bins_of_its_own() {
    let site = Site::released();
    let draft = drafted(&rotate(&site, &["--product", "second", "--bins", "16"]));
    site.sign(&draft, &[1, 3]);
    assert_eq!(site.publish(9).code, 0);
    assert!(site.path("REPO/public/metadata/1.second.index.json").exists());
    // And a rotation then renews the one with bins and the one without.
    let draft = drafted(&rotate(&site, &["--remove", "carol"]));
    site.sign(&draft, &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    assert_eq!(site.client().unwrap().verified.len(), 1);
    assert!(site.path("REPO/public/metadata/2.second.index.json").exists());
}
