//! The whole way of a release, and what is published beside it.

use std::fs;

use countersign_metadata::attestation::{self, VerifiedAttestation};
use countersign_metadata::statement::Outcome;
use countersign_metadata::{Sha256, layout};

use crate::key::TestKey;
use crate::site::{Site, blob, verdict};

#[test]
fn a_release_goes_from_draft_to_a_node() {
    let site = Site::new();
    let run = site.init();
    assert_eq!((run.code, run.json["requests"].as_array().unwrap().len()), (0, 3));

    // Nobody has signed: publishing says so and does nothing.
    let run = site.publish(9);
    assert_eq!(run.code, 1, "{}", run.json);
    assert!(!site.path("REPO/public/metadata").exists());
    site.sign("0001-init", &[1]);
    let status = site.run(&["status", "--repo", "REPO"]).json;
    let root =
        &status["drafts"][0]["roles"].as_array().unwrap().iter().find(|r| r["role"] == "root");
    let root = root.unwrap();
    assert_eq!((&root["missing"], &root["signed"][0]["label"]), (&1.into(), &"alice".into()));
    let can: Vec<_> = root["can_sign"].as_array().unwrap().iter().map(|k| &k["label"]).collect();
    assert!(can.contains(&&"bob".into()) && can.contains(&&"carol".into()) && can.len() == 2);
    site.sign("0001-init", &[3]);
    assert_eq!(site.publish(9).code, 0);
    assert_eq!(site.client().unwrap().verified.len(), 0);

    // The release, signed by one who rebuilt it and one who did not.
    let release = site.build("OUT", "1.0.0");
    let run = site.draft("OUT");
    assert_eq!((run.code, &run.json["draft"]), (0, &"0002-demo-1.0.0-linux-x86_64".into()));
    let request = &site.requests("0002-demo-1.0.0-linux-x86_64")[0];
    let with = verdict(&release, 41, Outcome::Reproduced);
    let alice = site.answer(request, 1, |s| s.rebuilt = Some(with.clone()));
    let bob = site.answer(request, 2, |_| {});
    let run = site.run(&["merge", "--repo", "REPO", "--draft", "2", &alice, &bob]);
    assert_eq!(run.code, 0, "{}", run.json);
    let signed = &run.json["drafts"][0]["roles"][0]["signed"];
    let evidence = |label: &str| {
        let one = signed.as_array().unwrap().iter().find(|s| s["label"] == label).unwrap();
        one["evidence"].as_str().unwrap().to_owned()
    };
    assert_eq!((evidence("alice"), evidence("bob")), ("unvouched".into(), "silent".into()));
    assert_eq!(site.publish(9).code, 0);

    let releases = site.client().unwrap();
    let [target] = releases.verified.as_slice() else { panic!("{releases:?}") };
    let labels: Vec<_> = target.signers().iter().map(|s| s.label()).collect();
    assert!(labels.contains(&"alice") && labels.contains(&"bob") && labels.len() == 2);
    let public = site.path("REPO/public");
    let served = fs::read(public.join(target.served_at())).unwrap();
    assert_eq!(Sha256::of(&served), *target.sha256());
    for input in &release.inputs {
        assert_eq!(
            blob(&fs::read(public.join(layout::input(&input.blob.sha256))).unwrap()),
            input.blob
        );
    }
    let signed = fs::read(public.join(layout::signed_bytes("demo", 2))).unwrap();
    let minisig = public.join(layout::minisig("demo", 2, &TestKey::new(1).public.id()));
    assert_eq!(fs::read_to_string(minisig).unwrap(), TestKey::new(1).minisig(&signed));

    // A stranger adds what came out on their machine.
    let theirs = verdict(&release, 77, Outcome::Divergence { sha256: Sha256::of(b"other") });
    fs::write(site.path("theirs.dsse.json"), serde_json::to_vec(&theirs).unwrap()).unwrap();
    for _ in 0..2 {
        let run = site.run(&["attest", "--repo", "REPO", "theirs.dsse.json"]);
        assert_eq!(run.code, 0, "{}", run.json);
    }
    let artifact = release.artifact.sha256;
    let index = fs::read(public.join(layout::attestation_index(&artifact))).unwrap();
    let index: attestation::Index = serde_json::from_slice(&index).unwrap();
    let verdicts: Vec<_> = index
        .envelopes
        .iter()
        .map(|digest| fs::read(public.join(layout::attestation(&artifact, digest))).unwrap())
        .map(|bytes| attestation::verify(&bytes, &release).unwrap())
        .collect();
    let reproduced = |v: &VerifiedAttestation| match v {
        VerifiedAttestation::Verdict(v) => v.reproduced(),
        VerifiedAttestation::Provenance(..) => panic!("nobody gave provenance"),
    };
    assert_eq!(verdicts.iter().map(reproduced).collect::<Vec<_>>(), [true, false]);

    // Again is no error, a second build of the same version is.
    assert_eq!(site.run(&["publish", "--repo", "REPO", "2"]).json["published"], "before");
    assert_eq!(site.draft("OUT").code, 3);
}

#[test]
fn expiry_is_announced_early_and_put_off_by_refresh() {
    let site = Site::published();
    assert_eq!(site.run(&["check", "--repo", "REPO", "--within", "1d"]).code, 0);
    let soon = site.run(&["check", "--repo", "REPO", "--within", "10d"]);
    assert_eq!((soon.code, &soon.json["expiring"][0]["role"]), (1, &"timestamp".into()));
    let signer = Site::signer(9);
    let refresh = ["refresh", "--repo", "REPO", "--signer", &signer, "--timestamp-expires", "12d"];
    let run = site.run(&refresh);
    assert_eq!((run.code, &run.json["timestamp"]), (0, &2.into()));
    assert_eq!(site.run(&["check", "--repo", "REPO", "--within", "10d"]).code, 0);
    assert!(!site.path("REPO/public/metadata/2.snapshot.json").exists(), "it is good for long");
    let run = site.run(&[&refresh[..], &["--snapshot-expires", "90d"]].concat());
    assert_eq!(run.code, 0);
    assert!(site.path("REPO/public/metadata/2.snapshot.json").exists(), "less than half is left");
    site.client().unwrap();
}

#[test]
fn what_is_written_keeps_to_the_rules_that_every_client_can_read() {
    let site = Site::published();
    for (file, role) in
        [("1.root.json", "root"), ("1.demo.json", "targets"), ("timestamp.json", "timestamp")]
    {
        let bytes = fs::read(site.path("REPO/public/metadata").join(file)).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["signed"]["_type"], role);
        let expires = value["signed"]["expires"].as_str().unwrap();
        assert_eq!((expires.len(), expires.ends_with('Z')), ("2027-01-31T12:00:00Z".len(), true));
        assert!(!bytes.contains(&b'\n'), "compact");
    }
}
