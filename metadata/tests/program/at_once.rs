//! Several people at one repository in the same moment.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Command, Stdio};

use crate::site::{PROGRAM, Site};

fn start(site: &Site, arguments: &[&str]) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(site.dir.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn codes(children: Vec<Child>) -> Vec<i32> {
    children.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect()
}

#[test]
fn two_publishers_at_once_leave_one_publication() {
    let site = Site::published();
    site.build("OUT", "1.0.0");
    site.draft("OUT");
    site.sign("0002-demo-1.0.0-linux-x86_64", &[1, 2]);
    let signer = Site::signer(9);
    let publish = ["publish", "--repo", "REPO", "2", "--signer", &signer];
    let codes = codes((0..6).map(|_| start(&site, &publish)).collect());
    assert!(codes.contains(&0) && codes.iter().all(|code| matches!(code, 0 | 8)), "{codes:?}");
    let (releases, _) = site.follow(&Default::default()).unwrap();
    assert_eq!((releases.verified.len(), releases.verified[0].role_version()), (1, 2));
    let timestamp = fs::read(site.path("REPO/public/metadata/timestamp.json")).unwrap();
    let timestamp: serde_json::Value = serde_json::from_slice(&timestamp).unwrap();
    assert_eq!(timestamp["signed"]["version"], 2, "published once");
}

#[test]
fn drafts_made_in_the_same_instant_have_numbers_of_their_own() {
    let site = Site::published();
    let names: Vec<_> = (0..6).map(|n| format!("renewal-{n}")).collect();
    let draft = |name: &String| {
        start(&site, &["rotate", "--repo", "REPO", "--renew", "--name", name.as_str()])
    };
    assert_eq!(codes(names.iter().map(draft).collect()), [0; 6]);
    let entries = fs::read_dir(site.path("REPO/drafts")).unwrap();
    let entries = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
    let numbers: BTreeSet<_> =
        entries.filter(|n| !n.starts_with('.')).map(|n| n[..4].to_owned()).collect();
    assert_eq!(numbers.len(), 7);
}

#[test]
fn a_superseded_draft_is_drafted_again_from_itself() {
    let site = Site::published();
    for version in ["1.0.0", "1.1.0"] {
        site.build(version, version);
        let run = site.draft(version);
        site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    }
    let signer = Site::signer(9);
    let publish = |d: &str| site.run(&["publish", "--repo", "REPO", d, "--signer", &signer]);
    assert_eq!(publish("3").code, 0);
    assert_eq!(publish("2").code, 1);
    fs::remove_dir_all(site.path("1.0.0")).unwrap();
    let run = site.draft("REPO/drafts/0002-demo-1.0.0-linux-x86_64");
    assert_eq!((run.code, &run.json["provenance"]), (0, &"none".into()), "{}", run.json);
    site.sign(run.json["draft"].as_str().unwrap(), &[2, 3]);
    assert_eq!(publish("4").code, 0);
    assert_eq!(site.client().unwrap().verified.len(), 2);
}
