//! The bill of materials beside a release: valid by the standard's own schema, equal for equal builds.

use std::fs;
use std::process::Command;

use crate::project::{GOOD_C, Project};

#[test]
fn the_bill_of_materials_is_valid_cyclonedx_and_the_same_for_each_build() {
    let project = Project::new(&["cc -o thing thing.c"], &[("thing.c", GOOD_C)]);
    let texts = [1, 2].map(|_| {
        let out = tempfile::tempdir().unwrap();
        project.build(out.path()).ended(0);
        (fs::read_to_string(out.path().join("sbom.cdx.json")).unwrap(), out)
    });
    assert_eq!(texts[0].0, texts[1].0);
    let bom: serde_json::Value = serde_json::from_str(&texts[0].0).unwrap();
    assert_eq!(bom["metadata"]["component"]["name"], "thing");
    let components = bom["components"].as_array().unwrap();
    let gcc = components.iter().find(|c| c["name"].as_str().unwrap().starts_with("gcc")).unwrap();
    assert_eq!(gcc["scope"], "excluded", "what made it is not shipped in it");

    let judge = "import sys\n\
        from cyclonedx.validation.json import JsonStrictValidator\n\
        from cyclonedx.schema import SchemaVersion\n\
        error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n\
        sys.exit(str(error) if error else 0)";
    let judged = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python/bin/python"))
        .args(["-c", judge])
        .arg(texts[0].1.path().join("sbom.cdx.json"))
        .output()
        .unwrap_or_else(|e| panic!(".ci/install makes target/python: {e}"));
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
}
