//! Our repositories are read by clients that we did not write: python-tuf and, where `$TOUGH_READER` names the program of
//! `metadata/strangers` (`.ci/full strangers` builds it), `tough`.

use std::path::Path;
use std::process::Command;

use crate::site::Site;

/// A fresh client's refresh from the first root, and a lookup of a version, by each of them.
fn reads(site: &Site, version: &str) {
    python_tuf_reads(site, version);
    let Some(tough) = std::env::var_os("TOUGH_READER") else { return };
    let path = target(version);
    let output = Command::new(tough)
        .args(["lookup", "REPO/public", &path])
        .current_dir(site.dir.path())
        .output()
        .map_err(|error| format!("cannot run $TOUGH_READER: {error}"))
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&path));
}

fn target(version: &str) -> String {
    format!("demo/{version}/demo-{version}-linux-x86_64.tar.zst")
}

pub(crate) fn python_tuf_reads(site: &Site, version: &str) {
    looks_up(site, &target(version));
}

fn looks_up(site: &Site, path: &str) {
    let python = std::env::var("TUF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/python_tuf.py");
    let output = Command::new(&python)
        .arg(script)
        .args(["lookup", "REPO/public", path])
        .current_dir(site.dir.path())
        .output()
        .map_err(|error| format!("cannot run {python}: {error}"))
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !errors.contains("No module named"),
        "this test needs python-tuf ({errors}): .ci/install installs it, or set TUF_PYTHON to a Python that has \
         tuf and securesystemslib[crypto]"
    );
    assert!(output.status.success(), "{errors}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(path));
}

#[test]
fn strangers_read_us_plain_after_a_revocation_and_after_a_full_rotation() {
    let site = Site::released();
    reads(&site, "1.0.0");
    let revoke = ["revoke", "--repo", "REPO", "--product", "demo", "--version", "1.0.0"];
    site.sign(site.run(&revoke).json["draft"].as_str().unwrap(), &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    reads(&site, "1.0.0");

    let mut rotate = vec!["rotate", "--repo", "REPO", "--online", "online=online2.pub"];
    rotate.extend(["--remove", "alice", "--remove", "bob", "--remove", "carol"]);
    rotate.extend(["--add", "dave=dave.pub", "--add", "erin=erin.pub", "--add", "frank=frank.pub"]);
    site.sign(site.run(&rotate).json["draft"].as_str().unwrap(), &[1, 2, 4, 5]);
    let (new, old) = (Site::signer(10), Site::signer(9));
    let publish = ["publish", "--repo", "REPO", "--signer", &new, "--previous-signer", &old];
    let run = site.run(&publish);
    assert_eq!(run.code, 0, "{}", run.json);
    reads(&site, "1.0.0");
}

#[test]
fn python_tuf_reads_our_hash_bins() {
    let site = Site::new();
    site.init_with(&["--bins", "16"]);
    site.sign("0001-init", &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        site.release(version, &[1, 2]);
    }
    // `tough` asks for every bin, also for those that hold nothing and have no file, and then finds nothing.
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        python_tuf_reads(&site, version);
    }
}

#[test]
fn python_tuf_reads_a_trusted_root_of_the_top_level_role() {
    let site = Site::released();
    std::fs::write(site.path("root.json"), crate::instance::Instance::new().trusted_root())
        .unwrap();
    let run = site.run(&["trusted-root", "--repo", "REPO", "root.json"]);
    site.sign(run.json["draft"].as_str().unwrap(), &[1, 2]);
    assert_eq!(site.publish(9).code, 0);
    looks_up(&site, "trusted_root.json");
    reads(&site, "1.0.0");
}
