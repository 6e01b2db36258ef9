//! Provides locked crates to cargo without a network: a directory of unpacked crates and a cargo configuration.

use std::fs;
use std::path::{Path, PathBuf};

use countersign_metadata::release::Input;
use serde_json::json;

use super::InputError;
use super::crates::CrateId;
use crate::pack::{self, Cap, Strip, UnpackError};

/// Longest crate, unpacked, in bytes, and most files in it.
const CAP: Cap = Cap { bytes: 1 << 30, members: 100_000 };

/// Why crates could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum VendorError {
    /// The archive of a crate is refused.
    #[error("cannot unpack {name}")]
    Unpack {
        /// The crate.
        name: String,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// The crate is not there, or the directory cannot be written.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Unpacks crates to `to/NAME-VERSION`, each with the digest that cargo checks `Cargo.lock` against.
///
/// # Errors
/// An archive is refused, or `to` cannot be written.
pub fn unpack(crates: &[(Input, PathBuf)], to: &Path) -> Result<(), VendorError> {
    for (input, archive) in crates {
        let Some(id) = CrateId::from_input_name(&input.name) else { continue };
        let failed = |source| VendorError::Unpack { name: input.name.clone(), source };
        let dir = to.join(id.file_stem());
        let io = |e| InputError::io(&dir, e);
        fs::create_dir_all(&dir).map_err(io)?;
        pack::unpack(pack::open(archive).map_err(failed)?, &dir, CAP, Strip::First)
            .map_err(failed)?;
        let checksum = dir.join(".cargo-checksum.json");
        if checksum.symlink_metadata().is_ok() {
            fs::remove_file(&checksum).map_err(io)?;
        }
        let text = json!({ "files": {}, "package": input.blob.sha256 }).to_string();
        fs::write(&checksum, text).map_err(io)?;
    }
    Ok(())
}

/// The configuration that makes cargo take crates from `vendor` alone, and that keeps the build's own directory out of
/// what rustc writes: below `base`, paths appear as below `/build`, wherever the build runs.
pub fn cargo_config(base: &str) -> String {
    format!(
        "[source.crates-io]\n\
         replace-with = \"countersign\"\n\
         [source.countersign]\n\
         directory = \"{base}/vendor\"\n\
         [net]\n\
         offline = true\n\
         [build]\n\
         rustflags = [\"--remap-path-prefix={base}=/build\"]\n"
    )
}
