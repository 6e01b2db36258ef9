//! Provides locked packages to npm without a network: a cache that holds them as npm itself would have put them there.
//!
//! ```text
//! _cacache/content-v2/sha512/AB/CD/REST    an archive, or a list of a package's versions
//! _cacache/index-v5/AB/CD/REST             where a request's answer lies: SHA-256 of the request's key
//! ```
//!
//! npm finds an archive by the lock file's digest alone where the lock file names its origin too; where it does not, it
//! asks for the package's versions first, and takes these answers. The registry in them is nobody's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use countersign_metadata::release::Input;
use serde_json::{Value, json};

use super::{NpmId, Sha512};
use crate::inputs::InputError;

/// A host that no name service will ever know.
const REGISTRY: &str = "http://registry.invalid/";
/// What npm says that it accepts when it asks for a package's versions: the answer counts for this alone.
const ACCEPT: &str = "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*";

/// npm's configuration: offline, and silent about what it could ask elsewhere.
pub const CONFIG: &str = "registry=http://registry.invalid/\noffline=true\naudit=false\nfund=false\n\
                          update-notifier=false\n";

/// Fills `to`, which will be npm's cache directory, with these packages.
///
/// # Errors
/// One cannot be read, or `to` cannot be written.
pub fn fill(packages: &[(Input, PathBuf)], to: &Path) -> Result<(), InputError> {
    let root = to.join("_cacache");
    let mut versions: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
    for (input, path) in packages {
        let Some(id) = NpmId::from_input_name(&input.name) else { continue };
        let sha512 = Sha512::of_file(path)?;
        let content = content_path(&root, &sha512);
        make_parent(&content)?;
        fs::copy(path, &content).map_err(|e| InputError::io(&content, e))?;
        let last = id.name().rsplit('/').next().unwrap_or_default();
        let tarball = format!("{REGISTRY}{}/-/{last}-{}.tgz", id.name(), id.version());
        index(&root, &tarball, &sha512, input.blob.length, json!({}))?;
        let version = json!({
            "name": id.name(),
            "version": id.version(),
            "dist": { "tarball": tarball, "integrity": sha512.to_string() },
        });
        versions.entry(id.name().to_owned()).or_default().insert(id.version().to_owned(), version);
    }
    for (name, versions) in versions {
        let text = json!({ "name": name, "dist-tags": {}, "versions": versions }).to_string();
        let sha512 = Sha512(sha512_of(text.as_bytes()));
        let content = content_path(&root, &sha512);
        make_parent(&content)?;
        fs::write(&content, &text).map_err(|e| InputError::io(&content, e))?;
        let url = format!("{REGISTRY}{}", name.replace('/', "%2f"));
        index(&root, &url, &sha512, text.len() as u64, json!({ "accept": ACCEPT }))?;
    }
    Ok(())
}

fn index(
    root: &Path,
    url: &str,
    sha512: &Sha512,
    length: u64,
    headers: Value,
) -> Result<(), InputError> {
    let key = format!("make-fetch-happen:request-cache:{url}");
    let entry = json!({
        "key": key,
        "integrity": sha512.to_string(),
        "time": 0,
        "size": length,
        "metadata": {
            "time": 0,
            "url": url,
            "reqHeaders": headers,
            "resHeaders": {},
            "options": { "compress": true },
        },
    })
    .to_string();
    let path =
        segments(&root.join("index-v5"), &hex::encode(hash(&digest::SHA256, key.as_bytes())));
    make_parent(&path)?;
    let sha1 = hex::encode(hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, entry.as_bytes()));
    fs::write(&path, format!("\n{sha1}\t{entry}")).map_err(|e| InputError::io(&path, e))
}

fn content_path(root: &Path, sha512: &Sha512) -> PathBuf {
    segments(&root.join("content-v2/sha512"), &hex::encode(sha512.bytes()))
}

fn segments(root: &Path, digest: &str) -> PathBuf {
    root.join(&digest[..2]).join(&digest[2..4]).join(&digest[4..])
}

fn make_parent(path: &Path) -> Result<(), InputError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|e| InputError::io(parent, e))
}

fn hash(algorithm: &'static digest::Algorithm, bytes: &[u8]) -> digest::Digest {
    digest::digest(algorithm, bytes)
}

fn sha512_of(bytes: &[u8]) -> [u8; 64] {
    let mut out = [0; 64];
    out.copy_from_slice(hash(&digest::SHA512, bytes).as_ref());
    out
}
