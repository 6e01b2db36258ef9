//! A public key file and the name that its holder goes by, as an argument.

use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint};
use countersign_metadata::PublicKey;
use countersign_metadata::authoring::Holder;

use crate::disk;

/// `LABEL=FILE`, or `FILE` alone.
#[derive(Clone, Debug)]
pub(crate) struct LabelledFile {
    label: Option<String>,
    file: PathBuf,
}

impl std::str::FromStr for LabelledFile {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('=') {
            Some((label, file)) => Self { label: Some(label.to_owned()), file: file.into() },
            None => Self { label: None, file: text.into() },
        })
    }
}

impl LabelledFile {
    /// Without a label, a key goes by the name of its file.
    pub(crate) fn read(&self, label: Option<&str>) -> Result<Holder, Failure> {
        let no_key = || format!("{} is no public key", self.file.display());
        let bytes = disk::read(&self.file, 4096)
            .map_err(|f| f.hint("`countersign-keys generate` makes key pairs"))?;
        let text = String::from_utf8_lossy(&bytes);
        let key = PublicKey::from_file_text(&text).or_fail(Exit::Input, no_key())?;
        let stem = || self.file.file_stem().map(|s| s.to_string_lossy().into_owned());
        let label = self.label.clone().or(label.map(str::to_owned)).or_else(stem);
        Ok(Holder { label: label.unwrap_or_default(), key })
    }
}
