//! The difference to the version before: made when a release is drafted, signed with it, published beside it.

use std::fs;
use std::io::{Cursor, Read};

use countersign_metadata::layout;
use countersign_metadata::release::Blob;
use countersign_metadata::{Delta, Release, Sha256};

use crate::site::Site;

/// Bytes that do not compress, so that an artifact is worth a delta.
fn noise(range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(|n| *Sha256::of(&n.to_be_bytes()).as_bytes()).collect()
}

/// Drafts a version with these bytes and these further arguments.
fn draft(site: &Site, version: &str, bytes: &[u8], more: &[&str]) -> (Release, crate::site::Run) {
    let release = site.build_with(version, version, bytes);
    let arguments = ["draft", "--repo", "REPO", "--release", version];
    let run = site.run(&[arguments.as_slice(), more].concat());
    (release, run)
}

fn publish(site: &Site, run: &crate::site::Run) {
    assert_eq!(run.code, 0, "{}", run.json);
    site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    let run = site.publish(9);
    assert_eq!(run.code, 0, "{}", run.json);
}

/// What a client finds beside a release.
fn published(site: &Site, release: &Release) -> Vec<Delta> {
    let releases = site.client().unwrap();
    let same = |t: &&countersign_metadata::trust::VerifiedTarget| t.release() == release;
    releases.verified.iter().find(same).unwrap().deltas().to_vec()
}

/// Applies a published delta, as a node does.
fn apply(site: &Site, delta: &Delta, old: &[u8]) -> Blob {
    let path = site.path("REPO/public").join(layout::delta(&delta.sha256));
    let served = fs::read(path).unwrap();
    assert_eq!(delta.blob(), Blob { sha256: Sha256::of(&served), length: served.len() as u64 });
    let instructions = zstd::decode_all(served.as_slice()).unwrap();
    let mut tar = Vec::new();
    let mut reader = bipatch::Reader::new(Cursor::new(instructions), Cursor::new(old)).unwrap();
    reader.read_to_end(&mut tar).unwrap();
    Blob { sha256: Sha256::of(&tar), length: tar.len() as u64 }
}

#[test]
fn the_difference_to_the_newest_version_before_is_published_with_a_release() {
    let site = Site::published();
    let old = noise(0..4000);
    let (one, run) = draft(&site, "1.0.0", &old, &[]);
    assert_eq!(run.json["deltas"], serde_json::json!([]));
    publish(&site, &run);
    let (two, run) = draft(&site, "2.0.0", &[old.clone(), noise(9000..9010)].concat(), &[]);
    publish(&site, &run);
    let deltas = published(&site, &two);
    assert_eq!(deltas.len(), 1);
    assert_eq!(deltas[0].from, one.artifact.sha256);
    assert!(deltas[0].length < 2000, "{}", deltas[0].length);
    assert_eq!(apply(&site, &deltas[0], &Site::tar(&old)), two.artifact);
}

#[test]
fn versions_may_be_named_and_deltas_left_out() {
    let site = Site::published();
    let bytes = noise(0..4000);
    for version in ["1.0.0", "2.0.0"] {
        let (_, run) = draft(&site, version, &[&bytes, version.as_bytes()].concat(), &[]);
        publish(&site, &run);
    }
    let next = [&bytes[..], b"3.0.0"].concat();
    let missing = ["--delta-from", "7.0.0"];
    let (_, run) = draft(&site, "3.0.0", &next, &missing);
    assert_eq!(run.code, 3, "{}", run.json);
    let both = ["--delta-from", "1.0.0", "--delta-from", "2.0.0"];
    let (three, run) = draft(&site, "3.0.0", &next, &both);
    publish(&site, &run);
    assert_eq!(published(&site, &three).len(), 2);
    let (four, run) = draft(&site, "4.0.0", &next[1..], &["--no-deltas"]);
    publish(&site, &run);
    assert!(published(&site, &four).is_empty());
    // Nothing in common: one whole file is better than two.
    let (five, run) = draft(&site, "5.0.0", &noise(100_000..104_000), &[]);
    publish(&site, &run);
    assert!(published(&site, &five).is_empty());
}

#[test]
fn a_damaged_copy_of_the_version_before_is_no_base() {
    let site = Site::published();
    let (one, run) = draft(&site, "1.0.0", &noise(0..4000), &[]);
    publish(&site, &run);
    let target = site.client().unwrap().verified.remove(0);
    assert_eq!(target.release(), &one);
    let served = site.path("REPO/public").join(target.served_at());
    fs::write(&served, zstd::encode_all(Site::tar(b"other").as_slice(), 1).unwrap()).unwrap();
    let (_, run) = draft(&site, "2.0.0", &noise(0..4001), &[]);
    assert_eq!(run.code, 6, "{}", run.json);
}
