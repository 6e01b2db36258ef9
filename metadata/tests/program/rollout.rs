//! When nodes take a version: said beside the release, and said anew without touching it.

use std::fs;

use crate::site::{Run, Site};

fn rollout(site: &Site, version: &str, change: &[&str]) -> Run {
    let args = ["rollout", "--repo", "REPO", "--product", "demo", "--version", version];
    site.run(&[&args, change].concat())
}

fn signed(site: &Site, version: &str, change: &[&str]) -> Run {
    let run = rollout(site, version, change);
    assert_eq!(run.code, 0, "{}", run.json);
    site.sign(run.json["draft"].as_str().unwrap(), &[2, 3]);
    assert_eq!(site.publish(9).code, 0);
    run
}

#[test]
fn a_rollout_is_said_anew_by_one_file_and_the_release_stays_as_it_was() {
    let site = Site::released();
    let before = site.client().unwrap().verified.remove(0);
    assert!(before.rollout().is_empty());
    let run = signed(&site, "1.0.0", &["--window", "7d", "--not-before", "2026-03-01T09:00:00Z"]);
    assert_eq!(run.json["requests"].as_array().unwrap().len(), 1);
    let after = site.client().unwrap().verified.remove(0);
    assert_eq!((after.release(), after.sha256()), (before.release(), before.sha256()));
    assert_eq!(after.rollout().window_seconds, Some(604_800));
    // What was said before stays, but for what is said now; later releases keep it.
    signed(&site, "1.0.0", &["--cancel", "it leaks"]);
    site.release("1.1.0", &[1, 2]);
    let all = site.client().unwrap().verified;
    assert_eq!(all[0].rollout().window_seconds, Some(604_800));
    assert_eq!(all[0].rollout().cancelled.as_deref(), Some("it leaks"));
    assert!(all[1].rollout().is_empty());
    signed(&site, "1.0.0", &["--resume"]);
    assert_eq!(site.client().unwrap().verified[0].rollout().cancelled, None);
    signed(&site, "1.0.0", &["--clear"]);
    assert!(site.client().unwrap().verified[0].rollout().is_empty());
}

#[test]
fn a_version_has_its_rollout_from_its_first_day_when_that_is_signed_ahead() {
    let site = Site::released();
    signed(&site, "2.0.0", &["--window", "3d"]);
    site.release("2.0.0", &[1, 2]);
    let two = site.client().unwrap().verified.remove(1);
    assert_eq!(two.rollout().window_seconds, Some(259_200));
}

#[test]
fn a_product_with_bins_says_it_in_its_index() {
    let site = Site::new();
    assert_eq!(site.init_with(&["--bins", "16"]).code, 0);
    site.sign("0001-init", &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    site.release("1.0.0", &[1, 2]);
    let run = signed(&site, "1.0.0", &["--window", "2h"]);
    let request = run.json["requests"][0].as_str().unwrap();
    assert!(request.ends_with("demo.index.request.json"), "{request}");
    assert_eq!(site.client().unwrap().verified[0].rollout().window_seconds, Some(7200));
    site.release("1.1.0", &[1, 2]);
    let all = site.client().unwrap().verified;
    assert_eq!(all[0].rollout().window_seconds, Some(7200));
}

#[test]
fn nothing_new_or_nonsense_is_not_drafted() {
    let site = Site::released();
    assert_eq!(rollout(&site, "1.0.0", &["--resume"]).code, 3, "it was never cancelled");
    assert_eq!(rollout(&site, "1.0.0", &["--cancel", ""]).code, 3);
    assert_eq!(rollout(&site, "1.0.0", &["--window", "2y"]).code, 3);
    let nothing = ["rollout", "--repo", "REPO", "--product", "demo", "--version", "1.0.0"];
    assert_eq!(site.raw(&nothing).status.code(), Some(2));
    assert!(!fs::exists(site.path("REPO/drafts/0003-rollout-demo-1.0.0")).unwrap());
}
