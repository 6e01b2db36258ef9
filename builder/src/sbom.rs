//! What is in an artifact, and what it was made with: a CycloneDX 1.6 bill of materials, from the lock alone.
//!
//! Equal builds give equal bytes: its time is `source-date-epoch`, and it has no serial number. Locked inputs are components;
//! what the environment was gathered from is there too, as `excluded`: it made the artifact and is not shipped in it.

use countersign_metadata::Release;
use countersign_metadata::release::Input;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// The file's name beside a release.
pub const FILE: &str = "sbom.cdx.json";

/// What stands as it is in a package URL.
const PLAIN: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b':');

/// The bill of materials of a release; `parts` are `NAME=VERSION` of its environment, `epoch` its time.
pub fn sbom(release: &Release, parts: &[String], epoch: u64) -> Value {
    let own = format!("{}@{}", release.product, release.version);
    let inputs: Vec<Value> = release.inputs.iter().map(input).collect();
    let refs: Vec<&str> = release.inputs.iter().map(|input| input.name.as_str()).collect();
    let environment = parts.iter().map(|part| environment(part));
    let time = i64::try_from(epoch).ok().and_then(|s| Timestamp::from_second(s).ok());
    json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": time.unwrap_or_default().to_string(),
            "tools": { "components": [{
                "type": "application",
                "name": "countersign-builder",
                "version": env!("CARGO_PKG_VERSION"),
            }]},
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": release.product,
                "version": release.version,
                "hashes": [hash(&release.artifact.sha256)],
                "properties": [
                    property("platform", &release.platform),
                    property("source", &format!("sha256:{}", release.source.sha256)),
                    property("environment", &format!("sha256:{}", release.environment.sha256)),
                ],
            },
        },
        "components": inputs.into_iter().chain(environment).collect::<Vec<_>>(),
        "dependencies": [{ "ref": own, "dependsOn": refs }],
    })
}

fn property(name: &str, value: &impl ToString) -> Value {
    json!({ "name": format!("countersign:{name}"), "value": value.to_string() })
}

fn hash(sha256: &countersign_metadata::Sha256) -> Value {
    json!({ "alg": "SHA-256", "content": sha256.to_string() })
}

fn input(input: &Input) -> Value {
    let (name, version, purl) = identify(&input.name);
    let mut component = json!({
        "type": "library",
        "bom-ref": input.name,
        "name": name,
        "hashes": [hash(&input.blob.sha256)],
    });
    if let Some(version) = version {
        component["version"] = json!(version);
    }
    if let Some(purl) = purl {
        component["purl"] = json!(purl);
    }
    component
}

fn environment(part: &str) -> Value {
    let (name, version) = part.split_once('=').unwrap_or((part, ""));
    json!({
        "type": "application",
        "bom-ref": format!("environment:{part}"),
        "name": name,
        "version": version,
        "scope": "excluded",
    })
}

/// Name, version and package URL of an input by its name in the lock.
fn identify(input: &str) -> (&str, Option<&str>, Option<String>) {
    let whole = (input, None, None);
    let Some((kind, rest)) = input.split_once(':') else { return whole };
    let (split, file) = match kind {
        "crates" | "npm" => (rest.rsplit_once('@'), ""),
        "pypi" => (rest.split('/').next().and_then(|rest| rest.split_once("==")), ""),
        "debian" => {
            let (package, file) = rest.split_once('/').unwrap_or((rest, ""));
            (package.split_once('='), file)
        }
        _ => return whole,
    };
    let Some((name, version)) = split.filter(|(name, _)| !name.is_empty()) else { return whole };
    let encoded = |text: &str| utf8_percent_encode(text, PLAIN).to_string();
    // A scope is a segment of its own.
    let path = name.split('/').map(encoded).collect::<Vec<_>>().join("/");
    let kind = match kind {
        "crates" => "cargo",
        "debian" => "deb/debian",
        kind => kind,
    };
    let qualifier = if file.is_empty() { "" } else { "?file_name=" };
    let purl = format!("pkg:{kind}/{path}@{}{qualifier}{}", encoded(version), encoded(file));
    (name, Some(version), Some(purl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_named_by_package_urls() {
        for (name, wanted) in [
            ("crates:zstd-sys@2.0.15+zstd.1.5.7", "pkg:cargo/zstd-sys@2.0.15%2Bzstd.1.5.7"),
            ("npm:@scope/thing@1.0.0-a.1", "pkg:npm/%40scope/thing@1.0.0-a.1"),
            ("pypi:six==1.17.0", "pkg:pypi/six@1.17.0"),
            ("pypi:six==1.17.0/six-1.17.0-py2.py3-none-any.whl", "pkg:pypi/six@1.17.0"),
            (
                "debian:lua5.4=5.4.4-3/lua_5.4.4.orig.tar.gz",
                "pkg:deb/debian/lua5.4@5.4.4-3?file_name=lua_5.4.4.orig.tar.gz",
            ),
        ] {
            assert_eq!(identify(name).2.as_deref(), Some(wanted));
        }
        assert_eq!(identify("https://example.org/a.tar").2, None);
    }
}
