//! What was written to the state, as a section of the report.

use std::path::Path;

use countersign_sandbox::{Deed, written};
use serde::{Deserialize, Serialize};

use crate::durable::{DiskError, OnDisk};
use crate::state::escape;

/// How many names the report lists.
const LISTED: usize = 1000;

/// What was written to the state, above a snapshot that stayed as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenSeen {
    /// How many names were created, changed, opened or deleted.
    pub names: u64,
    /// The length of all files that were created or changed, together.
    pub bytes: u64,
    /// Directories that could not be looked into.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unread: u64,
    /// The first 1,000 of them, in order of their paths.
    pub list: Vec<NameWritten>,
}

/// One name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameWritten {
    /// Below the state, `%XX` for every byte that is not printable ASCII; a directory ends with `/`.
    pub path: String,
    /// What was done.
    pub deed: DeedSeen,
    /// The length of the file that has that name now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes: u64,
}

/// What was done to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeedSeen {
    /// It was not there before.
    Created,
    /// Its content, kind or mode is another one.
    Changed,
    /// It was opened to be written, and length, mode and time of change are as they were.
    Opened,
    /// It is not there any more.
    Deleted,
}

impl WrittenSeen {
    /// Reads what lies in `upper`, above `lower`.
    pub(super) fn read(lower: &Path, upper: &Path) -> Result<Self, DiskError> {
        let found = written(lower, upper, LISTED).on_disk("list what was written in", upper)?;
        let list = found.list.into_iter().map(|change| {
            let slash = if change.directory { "/" } else { "" };
            NameWritten {
                path: format!("{}{slash}", escape(&change.path)),
                deed: match change.deed {
                    Deed::Created => DeedSeen::Created,
                    Deed::Changed => DeedSeen::Changed,
                    Deed::Opened => DeedSeen::Opened,
                    Deed::Deleted => DeedSeen::Deleted,
                },
                bytes: change.bytes,
            }
        });
        let list = list.collect();
        Ok(Self { names: found.names, bytes: found.bytes, unread: found.unread, list })
    }
}

impl std::fmt::Display for DeedSeen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Opened => "opened",
            Self::Deleted => "deleted",
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
