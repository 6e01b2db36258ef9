//! What is refused, with the exit code and a sentence, and that nothing has changed by then.

use std::fs;

use countersign_metadata::statement::Outcome;
use countersign_metadata::{Sha256, layout};

use crate::site::{Run, Site, verdict};

fn refused(run: &Run, code: i32, words: &str) {
    let error = run.json["error"].as_str().unwrap_or_default();
    assert_eq!(run.code, code, "{}", run.json);
    assert!(error.contains(words), "{words:?} is not in {error:?}");
}

#[test]
fn newcomers_are_told_what_to_do() {
    let site = Site::new();
    refused(&site.run(&["status", "--repo", "REPO"]), 3, "is not a repository");
    let missing = site.run(&[
        "init",
        "--repo",
        "REPO",
        "--product",
        "demo",
        "--keyholder",
        "alice=nowhere.pub",
        "--threshold",
        "1",
        "--online",
        "online.pub",
    ]);
    refused(&missing, 3, "cannot read nowhere.pub");
    assert!(missing.json["hint"].is_string());
    let zero = site.run(&[
        "init",
        "--repo",
        "REPO",
        "--product",
        "demo",
        "--keyholder",
        "alice=alice.pub",
        "--threshold",
        "0",
        "--online",
        "online.pub",
    ]);
    refused(&zero, 2, "a threshold of 0 makes no sense");
    assert!(!site.path("REPO").exists());
    assert_eq!(site.init().code, 0);
    refused(&site.init(), 3, "is a repository already");
    site.build("OUT", "1.0.0");
    refused(&site.draft("OUT"), 3, "nothing is published");
    site.sign("0001-init", &[1, 2]);
    let nobody = site.run(&["publish", "--repo", "REPO", "--signer", "no-such-signer"]);
    refused(&nobody, 7, "cannot run no-such-signer");
    for (command, words) in [("yes", "too long"), ("false", "ended with"), ("true", "did not sign")]
    {
        let run = site.run(&["publish", "--repo", "REPO", "--signer", command]);
        refused(&run, 4, words);
    }
    refused(&site.publish(8), 4, "may not sign snapshot");
    assert!(!site.path("REPO/public/metadata/timestamp.json").exists());
}

#[test]
fn signatures_that_do_not_count_are_not_taken_in() {
    let site = Site::published();
    let release = site.build("OUT", "1.0.0");
    site.draft("OUT");
    let draft = "0002-demo-1.0.0-linux-x86_64";
    let request = site.requests(draft).remove(0);
    let merge = |file: &str| site.run(&["merge", "--repo", "REPO", file]);

    refused(&merge(&site.answer(&request, 7, |_| {})), 6, "may not sign demo");
    refused(&merge(&site.answer(&request, 1, |s| s.signature[0] ^= 1)), 6, "does not verify");
    let other = |s: &mut countersign_metadata::request::Signature| s.message = Sha256::of(b"other");
    refused(&merge(&site.answer(&request, 1, other)), 3, "for nothing that is open here");
    let forged = site.answer(&request, 1, |s| {
        s.minisig = s.minisig.take().map(|m| m.replace("signed in a test", "signed at home"));
    });
    refused(&merge(&forged), 6, "minisig");
    let differs = verdict(&release, 41, Outcome::Divergence { sha256: Sha256::of(b"mine") });
    let differs = site.answer(&request, 1, |s| s.rebuilt = Some(differs));
    refused(&merge(&differs), 6, "does not say that the release was reproduced");
    let mut foreign = release.clone();
    foreign.version = "2.0.0".parse().unwrap();
    let foreign = verdict(&foreign, 41, Outcome::Reproduced);
    let foreign = site.answer(&request, 1, |s| s.rebuilt = Some(foreign));
    refused(&merge(&foreign), 6, "another artifact");

    let stored = fs::read_dir(site.path("REPO/drafts").join(draft).join("signatures")).unwrap();
    assert_eq!(stored.count(), 0);
    // The same key twice is one signature.
    site.sign(draft, &[1, 1]);
    refused(&site.publish(9), 1, "needs 1 of 2");
}

#[test]
fn a_build_that_is_not_what_it_says_is_not_drafted() {
    let site = Site::published();
    let release = site.build("OUT", "1.0.0");
    let artifact = site.path("OUT").join(release.file_name());
    let good = fs::read(&artifact).unwrap();
    // A bomb: the first bytes are right, and then it does not end.
    let tar = zstd::decode_all(good.as_slice()).unwrap();
    let bomb = [tar, vec![0; 1 << 20]].concat();
    fs::write(&artifact, zstd::encode_all(bomb.as_slice(), 3).unwrap()).unwrap();
    refused(&site.draft("OUT"), 6, "does not unpack to the tar");
    fs::write(&artifact, good).unwrap();
    let input = site.path("OUT").join(layout::input(&release.inputs[1].blob.sha256));
    fs::write(&input, b"right").unwrap();
    refused(&site.draft("OUT"), 6, "is not the file with SHA-256");
    let drafts: Vec<_> = fs::read_dir(site.path("REPO/drafts")).unwrap().collect();
    assert_eq!(drafts.len(), 1, "nothing is left behind");
}

#[test]
fn a_draft_that_was_touched_is_not_published() {
    let site = Site::published();
    let release = site.build("OUT", "1.0.0");
    site.draft("OUT");
    let draft = "0002-demo-1.0.0-linux-x86_64";
    site.sign(draft, &[1, 2]);
    let artifact = site.path("REPO/drafts").join(draft).join(release.file_name());
    let mut bytes = fs::read(&artifact).unwrap();
    bytes[20] ^= 1;
    fs::write(&artifact, bytes).unwrap();
    refused(&site.publish(9), 6, "is not the file with SHA-256");
    assert!(site.client().unwrap().verified.is_empty());
}

#[test]
fn of_two_drafts_side_by_side_the_second_must_be_made_anew() {
    let site = Site::published();
    for version in ["1.0.0", "1.1.0"] {
        site.build(version, version);
        assert_eq!(site.draft(version).code, 0);
    }
    site.sign("0002-demo-1.0.0-linux-x86_64", &[1, 2]);
    site.sign("0003-demo-1.1.0-linux-x86_64", &[2, 3]);
    refused(&site.publish(9), 3, "2 drafts are open");
    let signer = Site::signer(9);
    let publish = |d: &str| site.run(&["publish", "--repo", "REPO", d, "--signer", &signer]);
    assert_eq!(publish("3").code, 0);
    refused(&publish("2"), 1, "the repository is at version 2");
    assert_eq!(site.draft("1.0.0").code, 0);
    site.sign("0004-demo-1.0.0-linux-x86_64", &[1, 2]);
    assert_eq!(publish("4").code, 0);
    assert_eq!(site.client().unwrap().verified.len(), 2);
}

#[test]
fn a_text_with_a_line_break_is_refused_before_anybody_signs_it() {
    let site = Site::published();
    let mut release = site.build("OUT", "1.0.0");
    release.notes = "one\ntwo".to_owned();
    fs::write(site.path("OUT/release.json"), serde_json::to_vec(&release).unwrap()).unwrap();
    refused(&site.draft("OUT"), 3, "line break");
}

#[test]
fn a_stranger_cannot_attest_what_they_did_not_sign_or_what_is_not_released() {
    let site = Site::published();
    let release = site.build("OUT", "1.0.0");
    let mut forged = verdict(&release, 77, Outcome::Reproduced);
    let attest = |envelope: &countersign_metadata::dsse::Envelope| {
        fs::write(site.path("v.json"), serde_json::to_vec(envelope).unwrap()).unwrap();
        site.run(&["attest", "--repo", "REPO", "v.json"])
    };
    refused(&attest(&forged), 3, "is not released here");
    site.draft("OUT");
    site.sign("0002-demo-1.0.0-linux-x86_64", &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    forged.signatures[0].sig = verdict(&release, 78, Outcome::Reproduced).signatures[0].sig.clone();
    refused(&attest(&forged), 6, "was refused");
}
