//! The walls of the house, read from what cargo and the sources say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod removals;

use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Name and features of every normal dependency of a package, as `cargo build -p` resolves them.
fn normal_dependencies(package: &str) -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"])
        .args(["--format", "{p}\t{f}", "--package", package])
        .current_dir(top())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows = text.lines().filter_map(|line| {
        let (package, features) = line.split_once('\t')?;
        Some((package.split(' ').next()?.to_owned(), features.to_owned()))
    });
    rows.collect()
}

#[test]
fn the_updater_links_nothing_that_can_sign_or_author() {
    let dependencies = normal_dependencies("countersign-updater");
    let metadata = dependencies.iter().find(|(name, _)| name == "countersign-metadata");
    let (_, features) = metadata.expect("the updater depends on metadata");
    for (name, _) in &dependencies {
        let banned = ["countersign-keys", "countersign-builder", "minisign", "sigstore-sign"];
        assert!(!banned.contains(&name.as_str()), "the updater links {name}");
        // Backups are another program's: the agent idles on every node.
        assert!(!["rustic_core", "rusty-s3"].contains(&name.as_str()), "the updater links {name}");
    }
    assert!(!features.contains("authoring"), "the updater links metadata's authoring: {features}");
    assert!(!features.contains("program"), "the updater links metadata's program: {features}");
}

#[test]
fn what_holds_lasting_keys_has_no_network_client_and_what_signs_keyless_has_no_lasting_keys() {
    let names = |package| normal_dependencies(package).into_iter().map(|(name, _)| name);
    for name in names("countersign-keys") {
        let banned = ["reqwest", "hyper", "tokio", "rustls", "sigstore-verify"];
        assert!(!banned.contains(&name.as_str()), "countersign-keys links {name}");
    }
    for name in names("countersign-keyless") {
        let banned = ["countersign-keys", "minisign", "cryptoki", "pkcs8", "sigstore-sign"];
        assert!(!banned.contains(&name.as_str()), "countersign-keyless links {name}");
    }
}

#[test]
fn the_wings_never_meet_and_the_floors_import_nothing_of_ours() {
    let ours = |package| {
        let names = normal_dependencies(package).into_iter().map(|(name, _)| name);
        let mut ours: Vec<_> =
            names.filter(|n| n.starts_with("countersign-") && n != package).collect();
        ours.sort();
        ours.dedup();
        ours.retain(|n| n != "countersign-console");
        ours
    };
    assert_eq!(ours("countersign-keys"), ["countersign-metadata"]);
    assert_eq!(ours("countersign-keyless"), ["countersign-metadata"]);
    assert_eq!(ours("countersign-builder"), ["countersign-metadata", "countersign-sandbox"]);
    assert_eq!(ours("countersign-updater"), ["countersign-metadata", "countersign-sandbox"]);
    let backup = ["countersign-metadata", "countersign-sandbox", "countersign-updater"];
    assert_eq!(ours("countersign-backup"), backup);
    assert!(ours("countersign-metadata").is_empty());
    assert!(ours("countersign-sandbox").is_empty());
}

#[test]
fn unsafe_code_is_in_the_sandbox_only() {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(top()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir()
            && !["sandbox", "target"].contains(&name.as_str())
            && !name.starts_with('.')
        {
            rust_files(&path, &mut files);
        }
    }
    assert!(files.len() > 50, "only {} source files found", files.len());
    let word = concat!("un", "safe");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for form in [" {", " fn", " impl", " extern", "(", "_code)"] {
                let found = code.contains(&format!("{word}{form}"));
                assert!(!found, "{}:{}: {line}", file.display(), number + 1);
            }
        }
    }
}

#[test]
fn every_member_takes_the_workspace_lints_or_argues_its_own() {
    let workspace = std::fs::read_to_string(top().join("Cargo.toml")).unwrap();
    let members = workspace.lines().find(|l| l.starts_with("members")).unwrap();
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.len() >= 6);
    for member in members {
        let manifest = std::fs::read_to_string(top().join(member).join("Cargo.toml")).unwrap();
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert!(inherits || member == "sandbox", "{member} does not take the workspace's lints");
    }
}

fn rust_files(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}
