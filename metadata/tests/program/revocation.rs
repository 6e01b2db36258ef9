//! A released version that nodes must leave.

use std::fs;

use countersign_metadata::Version;

use crate::site::Site;

fn revoke(site: &Site, version: &str) -> crate::site::Run {
    site.run(&["revoke", "--repo", "REPO", "--product", "demo", "--version", version])
}

#[test]
fn nodes_are_told_to_leave_a_revoked_version_and_later_releases_keep_it_revoked() {
    let site = Site::released();
    let run = revoke(&site, "1.0.0");
    assert_eq!(run.code, 0, "{}", run.json);
    let draft = run.json["draft"].as_str().unwrap();
    assert_eq!(draft, "0003-revoke-demo-1.0.0");
    site.sign(draft, &[2, 3]);
    assert_eq!(site.publish(9).code, 0);
    site.release("1.1.0", &[1, 2]);

    let releases = site.client().unwrap();
    let bad: Version = "1.0.0".parse().unwrap();
    assert_eq!(releases.revoked.iter().collect::<Vec<_>>(), [&bad]);
    let seen: Vec<_> =
        releases.verified.iter().map(|t| (t.release().version.to_string(), t.revoked())).collect();
    assert_eq!(seen, [("1.0.0".to_owned(), true), ("1.1.0".to_owned(), false)]);
}

#[test]
fn a_release_may_revoke_what_it_replaces() {
    let site = Site::released();
    let mut release = site.build("OUT", "1.1.0");
    release.revokes.insert("1.0.0".parse().unwrap());
    fs::write(site.path("OUT/release.json"), serde_json::to_vec(&release).unwrap()).unwrap();
    let run = site.draft("OUT");
    site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    let releases = site.client().unwrap();
    assert!(releases.verified[0].revoked() && !releases.verified[1].revoked());
}

#[test]
fn what_is_not_released_or_revoked_already_cannot_be_revoked() {
    let site = Site::released();
    assert_eq!(revoke(&site, "7.0.0").code, 3);
    let run = revoke(&site, "1.0.0");
    site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    assert_eq!(revoke(&site, "1.0.0").code, 3);
    // Nor does it come back for another platform.
    let mut release = site.build("OUT", "1.0.0");
    let was = release.file_name();
    release.platform = "linux-aarch64".parse().unwrap();
    fs::rename(site.path("OUT").join(was), site.path("OUT").join(release.file_name())).unwrap();
    fs::write(site.path("OUT/release.json"), serde_json::to_vec(&release).unwrap()).unwrap();
    let run = site.draft("OUT");
    assert!(run.code == 3 && run.json["error"].as_str().unwrap().contains("is revoked"));
}
