//! A draft on disk. Frozen: nothing but `signatures/` changes once it is there.
//!
//! ```text
//! drafts/NNNN-NAME/ROLE.request.json     what travels to keyholders, one a role; for all roles below a product,
//!                                        signed anew in a rotation: PRODUCT.renewal-N.request.json
//! drafts/NNNN-NAME/release.json          for a release: the same shape as a builder's output directory,
//!                  NAME.tar.zst  inputs/   so that `countersign-builder rebuild --release` works on it
//!                  provenance.json  provenance.dsse.json
//!                  deltas/SHA256           from earlier artifacts to this one
//! drafts/NNNN-NAME/signatures/ROLE.KEYID.json
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint};
use countersign_metadata::Release;
use countersign_metadata::authoring::{Accepted, Draft, DraftState, Part, Published};
use countersign_metadata::layout::limit;
use countersign_metadata::request::{FORMAT, RequestSubject, Signature, SigningRequest};

use crate::repository::Repository;
use crate::{disk, tell};

/// Longest signature file, in bytes.
pub(crate) const MAX_SIGNATURE: u64 = 2 << 20;
/// Longest file of signatures for a renewal, in bytes.
pub(crate) const MAX_SIGNATURES: u64 = 32 << 20;
/// Longest `release.json`, in bytes.
pub(crate) const MAX_RELEASE: u64 = 4 << 20;

const REQUEST: &str = ".request.json";

/// A draft on disk.
pub(crate) struct DraftDir {
    pub(crate) dir: PathBuf,
    pub(crate) draft: Draft,
    accepted: BTreeMap<String, Vec<Accepted>>,
}

impl DraftDir {
    /// Reads a draft. Its signatures are verified again.
    pub(crate) fn open(
        repository: &Repository,
        dir: &Path,
        mut published: Option<&mut Published>,
    ) -> Result<Self, Failure> {
        let mut requests = Vec::new();
        for path in list(dir)? {
            if path.to_string_lossy().ends_with(REQUEST) {
                let what = || format!("{} is no signing request", path.display());
                let request: SigningRequest =
                    serde_json::from_slice(&disk::read(&path, limit::REQUEST)?)
                        .or_fail(Exit::Input, what())?;
                if request.format != FORMAT {
                    return Err(Failure::new(Exit::Input, what())
                        .hint("it was written by another version of Countersign"));
                }
                requests.push(request);
            }
        }
        if let Some(published) = &mut published {
            let mut source = repository.source();
            let roles = requests.iter().flat_map(|request| match &request.subject {
                RequestSubject::Role { role, .. } => vec![role],
                RequestSubject::Renewal(renewal) => renewal.files.iter().map(|f| &f.role).collect(),
                RequestSubject::Statement { .. } => Vec::new(),
            });
            for role in roles {
                published.load(role, &mut source).map_err(|error| {
                    tell::authoring(format!("cannot use {}", dir.display()), &error)
                })?;
            }
        }
        let published = published.as_deref();
        // As people think of them: what others depend on first.
        let rank = |request: &SigningRequest| match &request.subject {
            RequestSubject::Role { role, .. } if role == "root" => 0,
            RequestSubject::Role { role, .. } if role == "targets" => 1,
            RequestSubject::Role { role, .. } if role.contains('.') => 3,
            RequestSubject::Renewal(renewal) => 3 + renewal.part,
            _ => 2,
        };
        requests.sort_by_key(rank);
        let draft = Draft::from_requests(requests, published)
            .map_err(|error| tell::authoring(format!("cannot use {}", dir.display()), &error))?;
        let open = draft.state(published) == DraftState::Open;
        let mut this = Self { dir: dir.to_owned(), draft, accepted: BTreeMap::new() };
        for path in list(&dir.join("signatures"))? {
            if path.extension().is_some_and(|e| e == "json") {
                let what = || format!("{} does not count (any more)", path.display());
                let signature: Signature =
                    serde_json::from_slice(&disk::read(&path, MAX_SIGNATURE)?)
                        .or_fail(Exit::Input, format!("{} is no signature", path.display()))?;
                let Some(part) = this.part_for(&signature) else { continue };
                let role = part.role().to_owned();
                let there = published.and_then(|p| p.file(&role));
                let done = there.is_some_and(|file| file.message() == part.message());
                match part.accept(signature) {
                    Ok(accepted) => this.accepted.entry(role).or_default().push(accepted),
                    // Keys come and go: what an old draft was signed with need not count today.
                    Err(_) if !open || done => {}
                    Err(refused) => return Err(Failure::caused(Exit::Untrusted, what(), &refused)),
                }
            }
        }
        Ok(this)
    }

    /// Writes a new draft: everything into a directory of its own, which gets its name last.
    pub(crate) fn create(
        repository: &Repository,
        name: &str,
        draft: &Draft,
        stage: impl FnOnce(&Path) -> Result<(), Failure>,
    ) -> Result<PathBuf, Failure> {
        let drafts = repository.drafts_dir();
        let making = drafts.join(format!(".making-{}", std::process::id()));
        // A process that died may have had the same number.
        let _none = fs::remove_dir_all(&making);
        let filled = fill(&making, draft).and_then(|()| stage(&making));
        if let Err(failure) = filled {
            let _best_effort = fs::remove_dir_all(&making);
            return Err(failure);
        }
        let _numbering = repository.numbering()?;
        loop {
            let names = repository.draft_names()?;
            let number =
                names.iter().filter_map(|n| n.split('-').next()?.parse::<u32>().ok()).max();
            let dir = drafts.join(format!("{:04}-{name}", number.unwrap_or(0) + 1));
            // Another draft may have taken the number meanwhile; a directory with files is never replaced.
            match fs::rename(&making, &dir) {
                Ok(()) => {
                    disk::sync_dir(&drafts).or_fail(Exit::Host, "cannot sync the drafts")?;
                    return Ok(dir);
                }
                Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => {
                    let what = format!("cannot make {}", dir.display());
                    return Err(Failure::caused(Exit::Host, what, &error));
                }
            }
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The file that travels to keyholders.
    pub(crate) fn request_path(&self, part: &Part) -> PathBuf {
        let asked = self.draft.requests().get(part.asked_by());
        self.dir.join(asked.map_or_else(|| part.role().to_owned(), file_name))
    }

    /// All of them.
    pub(crate) fn request_paths(&self) -> Vec<PathBuf> {
        self.draft.requests().iter().map(|request| self.dir.join(file_name(request))).collect()
    }

    /// The part that a signature is for.
    pub(crate) fn part_for(&self, signature: &Signature) -> Option<&Part> {
        self.draft.parts().iter().find(|part| *part.digest() == signature.message)
    }

    /// Signatures that count for a role.
    pub(crate) fn accepted(&self, part: &Part) -> &[Accepted] {
        self.accepted.get(part.role()).map_or(&[], Vec::as_slice)
    }

    /// Stores a signature. One that came with more is not replaced by one with less: a rebuild, a word of its signer.
    pub(crate) fn store(&mut self, role: &str, accepted: Accepted) -> Result<(), Failure> {
        let key = accepted.signature().key;
        let had = self.accepted.entry(role.to_owned()).or_default();
        let better = |old: &&Accepted| {
            old.signature().key == key && old.evidence().weight() > accepted.evidence().weight()
        };
        if had.iter().any(|old| better(&old)) {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(accepted.signature())
            .or_fail(Exit::Host, "cannot write a signature")?;
        let name = format!("signatures/{role}.{}.json", key.id());
        disk::write(&self.dir.join(name), &bytes)?;
        had.retain(|old| old.signature().key != key);
        had.push(accepted);
        Ok(())
    }

    /// The release it adds, if it does.
    pub(crate) fn release(&self) -> Option<&Release> {
        self.draft.parts().iter().flat_map(Part::releases).next()
    }
}

fn fill(dir: &Path, draft: &Draft) -> Result<(), Failure> {
    disk::make_dir(&dir.join("signatures"))?;
    for request in draft.requests() {
        let bytes = serde_json::to_vec(request).or_fail(Exit::Host, "cannot write a request")?;
        disk::write(&dir.join(file_name(request)), &bytes)?;
    }
    Ok(())
}

/// The name of a request's file.
fn file_name(request: &SigningRequest) -> String {
    match &request.subject {
        RequestSubject::Role { role, .. } => format!("{role}{REQUEST}"),
        RequestSubject::Renewal(renewal) => {
            format!("{}.renewal-{}{REQUEST}", renewal.product, renewal.part)
        }
        RequestSubject::Statement { .. } => format!("statement{REQUEST}"),
    }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let what = || format!("cannot read {}", dir.display());
    let entries = fs::read_dir(dir).or_fail(Exit::Input, what())?;
    let mut paths = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()
        .or_fail(Exit::Input, what())?;
    paths.sort();
    Ok(paths)
}

/// A name that is one plain path segment.
pub(crate) fn plain(name: String) -> Result<String, Failure> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=80).contains(&name.len()) && name.bytes().all(good) {
        return Ok(name);
    }
    Err(Failure::new(Exit::Usage, format!("{name:?} is no name for a draft"))
        .hint("letters, digits, '-', '_' and '.', at most 80"))
}
