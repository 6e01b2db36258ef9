//! Writes a tree as an OCI image layout of one layer. Equal trees give equal bytes: the layer is a canonical tar, not
//! compressed, and nothing in the image says when or where it was made.
//!
//! ```text
//! oci-layout  index.json  blobs/sha256/{MANIFEST,CONFIG,LAYER}
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use countersign_metadata::Sha256;
use countersign_metadata::release::Blob;
use serde_json::{Value, json};

use super::ExportError;
use crate::Inside;
use crate::environment::architecture;
use crate::pack::{self, Body, Entry, PackError, Plan};

/// The time of every file: the first that zip archives know, as python's build tools insist on.
const EPOCH: u64 = 315_532_800;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes `tree` to the layout `dir`, which must not exist, and returns the digest of the image's manifest.
pub(super) fn write(tree: &Path, path: &str, dir: &Path) -> Result<Sha256, ExportError> {
    let failed = |source| ExportError::Io { path: dir.to_owned(), source };
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed)?;
    let layer = layer(tree, &blobs)?;
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": { "Env": [format!("PATH={path}")] },
        "rootfs": { "type": "layers", "diff_ids": [digest(&layer.sha256)] },
    });
    let descriptor = |kind: &str, blob: &Blob| json!({ "mediaType": kind, "digest": digest(&blob.sha256), "size": blob.length });
    let document = |value: &Value| {
        let bytes = value.to_string().into_bytes();
        let blob = Blob { sha256: Sha256::of(&bytes), length: bytes.len() as u64 };
        fs::write(blobs.join(blob.sha256.to_string()), bytes).map_err(failed)?;
        Ok::<_, ExportError>(blob)
    };
    let config = document(&config)?;
    let manifest = document(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut of_image = descriptor(MANIFEST, &manifest);
    of_image["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [of_image],
    });
    fs::write(dir.join("index.json"), index.to_string()).map_err(failed)?;
    let version = json!({ "imageLayoutVersion": "1.0.0" }).to_string();
    fs::write(dir.join("oci-layout"), version).map_err(failed)?;
    Ok(manifest.sha256)
}

fn digest(sha256: &Sha256) -> String {
    format!("sha256:{sha256}")
}

fn layer(tree: &Path, blobs: &Path) -> Result<Blob, ExportError> {
    let failed = |source| ExportError::Io { path: blobs.to_owned(), source };
    let mut bodies = BTreeMap::new();
    walk(tree, None, &mut bodies)?;
    let entries = bodies.into_iter().map(|(path, body)| Entry { path, body }).collect();
    let mut file = tempfile::NamedTempFile::new_in(blobs).map_err(failed)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file.as_file_mut());
    let blob = pack::write_tar(&Plan::of_entries(entries), EPOCH, &mut writer)?;
    writer.flush().map_err(failed)?;
    drop(writer);
    crate::files::place(file, &blobs.join(blob.sha256.to_string())).map_err(failed)?;
    Ok(blob)
}

/// Takes what a system may hold and an artifact may not: links that lead anywhere, names that differ in case only.
fn walk(
    dir: &Path,
    above: Option<&Inside>,
    bodies: &mut BTreeMap<Inside, Body>,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Io { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let from = entry.path();
        let refused = |what: String| {
            ExportError::from(PackError::Refused { path: from.display().to_string(), what })
        };
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| refused("its name is not UTF-8".to_owned()))?;
        let path = match above {
            Some(above) => above.join(name),
            None => name.parse(),
        };
        let path: Inside = path.map_err(|e| refused(e.to_string()))?;
        let meta = fs::symlink_metadata(&from).map_err(failed)?;
        let body = if meta.is_dir() {
            walk(&from, Some(&path), bodies)?;
            Body::Directory
        } else if meta.is_symlink() {
            let target = fs::read_link(&from).map_err(failed)?;
            let target =
                target.to_str().ok_or_else(|| refused("its target is not UTF-8".into()))?;
            Body::Symlink { target: target.to_owned() }
        } else if meta.is_file() {
            let executable = is_executable(&meta);
            Body::File { from: from.clone(), length: meta.len(), executable }
        } else {
            return Err(failed(io::Error::other("neither file, link nor directory")));
        };
        bodies.insert(path, body);
    }
    Ok(())
}

fn is_executable(meta: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o100 != 0
}
