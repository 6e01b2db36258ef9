//! A product with hash bins, from `init` to a node that loads only what it needs.

use std::fs;

use countersign_metadata::trust::{Source, SourceError, Trust};
use countersign_metadata::{Platform, Product, Version};
use jiff::Timestamp;

use crate::site::{Disk, Site};

/// With versions released one by one.
pub(crate) fn site(versions: &[&str]) -> Site {
    let site = Site::new();
    let run = site.init_with(&["--bins", "16"]);
    assert_eq!((run.code, run.json["requests"].as_array().unwrap().len()), (0, 4));
    site.sign("0001-init", &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    for version in versions {
        site.release(version, &[1, 2]);
    }
    site
}

/// A directory that remembers what was asked for.
pub(crate) struct Logged(Disk, Vec<String>);

impl Source for Logged {
    fn fetch(&mut self, path: &str, max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        self.1.push(path.to_owned());
        self.0.fetch(path, max)
    }
}

pub(crate) fn client(site: &Site) -> (Trust, Logged) {
    let root = fs::read(site.path("REPO/public/metadata/1.root.json")).unwrap();
    let mut trust = Trust::from_root(&root).unwrap();
    let mut source = Logged(Disk(site.path("REPO/public")), Vec::new());
    trust.refresh(Timestamp::now(), &mut source).unwrap();
    (trust, source)
}

fn names() -> (Product, Platform) {
    ("demo".parse().unwrap(), "linux-x86_64".parse().unwrap())
}

pub(crate) const MANY: [&str; 7] = ["1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0", "1.5.0", "1.6.0"];

#[test]
fn a_release_is_two_small_roles_to_sign() {
    let site = site(&["1.0.0"]);
    site.build("OUT", "1.1.0");
    let run = site.draft("OUT");
    let requests = site.requests(run.json["draft"].as_str().unwrap());
    let names: Vec<_> = requests.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert!(names.len() == 2 && names.contains(&"demo.index.request.json"), "{names:?}");
    assert!(site.path("REPO/public/metadata/1.demo.json").exists());
    assert!(!site.path("REPO/public/metadata/2.demo.json").exists(), "the product's role stays");
}

#[test]
fn a_lookup_loads_the_role_its_index_and_one_bin() {
    let site = site(&MANY);
    let (product, platform) = names();
    let (mut trust, mut source) = client(&site);
    source.1.clear();
    let now = Timestamp::now();
    let newest = trust.newest(&product, &platform, now, &mut source).unwrap().unwrap();
    assert_eq!(newest.release().version.to_string(), "1.6.0");
    assert_eq!(newest.signers().len(), 2);
    assert_eq!(source.1.len(), 3, "{:?}", source.1);
    for version in MANY {
        let version: Version = version.parse().unwrap();
        let found = trust.release(&product, &version, &platform, now, &mut source).unwrap();
        assert_eq!(found.unwrap().release().version, version);
    }
    let absent: Version = "9.0.0".parse().unwrap();
    assert!(trust.release(&product, &absent, &platform, now, &mut source).unwrap().is_none());

    // What nodes list: those that some node may want next.
    let releases = trust.releases(&product, now, &mut source).unwrap();
    let listed: Vec<_> =
        releases.verified.iter().map(|t| t.release().version.to_string()).collect();
    assert_eq!(listed, ["1.3.0", "1.4.0", "1.5.0", "1.6.0"]);
    // What was kept is enough without any source, and old bins do not pile up.
    let kept = trust.kept();
    assert!(kept.keys().filter(|name| name.starts_with("demo.")).count() <= 6);
    let root = fs::read(site.path("REPO/public/metadata/1.root.json")).unwrap();
    let mut restored = Trust::restore(&root, &kept, now).unwrap();
    restored.refresh(now, &mut source).unwrap();
    source.1.clear();
    restored.releases(&product, now, &mut source).unwrap();
    assert!(source.1.is_empty(), "{:?}", source.1);
}

#[test]
fn an_old_release_is_neither_replaced_nor_lost_to_a_strangers_verdict() {
    let site = site(&MANY);
    assert_eq!(site.draft("1.0.0").code, 3, "released already, though no index lists it");
    let release = serde_json::from_slice(&fs::read(site.path("1.0.0/release.json")).unwrap());
    let verdict = crate::site::verdict(
        &release.unwrap(),
        77,
        countersign_metadata::statement::Outcome::Reproduced,
    );
    fs::write(site.path("v.json"), serde_json::to_vec(&verdict).unwrap()).unwrap();
    let run = site.run(&["attest", "--repo", "REPO", "v.json"]);
    assert_eq!(run.code, 0, "{}", run.json);
}

#[test]
fn a_revoked_release_gives_way_to_the_newest_that_is_left() {
    let site = site(&MANY);
    let run = site.run(&["revoke", "--repo", "REPO", "--product", "demo", "--version", "1.6.0"]);
    assert_eq!(run.code, 0, "{}", run.json);
    site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    let (product, platform) = names();
    let (mut trust, mut source) = client(&site);
    let now = Timestamp::now();
    let newest = trust.newest(&product, &platform, now, &mut source).unwrap().unwrap();
    assert_eq!(newest.release().version.to_string(), "1.5.0");
    let bad: Version = "1.6.0".parse().unwrap();
    let found = trust.release(&product, &bad, &platform, now, &mut source).unwrap().unwrap();
    assert!(found.revoked());
    let releases = trust.releases(&product, now, &mut source).unwrap();
    assert!(releases.revoked.contains(&bad) && releases.verified.len() == 4);
}

#[test]
fn two_drafts_for_different_bins_are_in_each_others_way_by_the_index_alone() {
    let site = site(&[]);
    for version in ["1.0.0", "2.0.0"] {
        site.build(version, version);
        let run = site.draft(version);
        site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    }
    let signer = Site::signer(9);
    let publish = |d: &str| site.run(&["publish", "--repo", "REPO", d, "--signer", &signer]);
    assert_eq!(publish("2").code, 0);
    let run = publish("3");
    assert!(run.code == 1 && run.json["error"].as_str().unwrap().contains("demo"), "{}", run.json);
    assert_eq!(site.draft("2.0.0").code, 0);
    site.sign("0004-demo-2.0.0-linux-x86_64", &[1, 2]);
    assert_eq!(publish("4").code, 0);
}

#[test]
fn what_bins_cannot_do_is_refused_by_name() {
    let site = Site::new();
    for bad in ["8", "17", "8192", "many"] {
        let output = site.raw(&["init", "--repo", "REPO", "--product", "demo", "--bins", bad]);
        assert_eq!(output.status.code(), Some(2));
    }
    let site = self::site(&["1.0.0"]);
    let output = site.raw(&["rotate", "--repo", "REPO", "--bins", "16", "--renew"]);
    assert_eq!(output.status.code(), Some(2), "bins are for products that join");
    let run = site.run(&["rotate", "--repo", "REPO", "--online", "online=online2.pub"]);
    assert_eq!(run.code, 0, "{}", run.json);
}
