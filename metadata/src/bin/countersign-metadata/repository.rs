//! A repository's work directory.
//!
//! ```text
//! REPO/public/               what is served: see `countersign_metadata::layout`
//! REPO/drafts/NNNN-NAME/     one draft each: see `draft_dir`
//! REPO/.lock                 held while something is published
//! REPO/.drafts.lock          held while a draft gets its number
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint};
use countersign_metadata::Sha256;
use countersign_metadata::attestation::Index;
use countersign_metadata::authoring::Published;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::trust::Source;

use crate::disk::{self, Directory};
use crate::draft_dir::DraftDir;
use crate::tell;

/// A repository's work directory.
pub(crate) struct Repository {
    dir: PathBuf,
}

/// The right to change what is published; given up when dropped, also by a crash.
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl Repository {
    /// An existing one.
    pub(crate) fn open(dir: &Path) -> Result<Self, Failure> {
        if dir.join("drafts").is_dir() && dir.join("public").is_dir() {
            return Ok(Self { dir: dir.to_owned() });
        }
        let sentence = format!("{} is not a repository", dir.display());
        let hint = "`countersign-metadata init --repo REPO …` begins one";
        Err(Failure::new(Exit::Input, sentence).hint(hint))
    }

    /// A new one, in a directory that holds none yet.
    pub(crate) fn create(dir: &Path) -> Result<Self, Failure> {
        if dir.join("drafts").exists() || dir.join("public").exists() {
            let sentence = format!("{} is a repository already", dir.display());
            let hint = "nothing was changed; `countersign-metadata status` shows what is in it";
            return Err(Failure::new(Exit::Input, sentence).hint(hint));
        }
        let this = Self { dir: dir.to_owned() };
        disk::make_dir(&this.public())?;
        Ok(this)
    }

    /// What is served.
    pub(crate) fn public(&self) -> PathBuf {
        self.dir.join("public")
    }

    /// What is served, as a source.
    pub(crate) fn source(&self) -> Directory {
        Directory(self.public())
    }

    pub(crate) fn drafts_dir(&self) -> PathBuf {
        self.dir.join("drafts")
    }

    /// Waits for nobody: another publisher at work is an error.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        let path = self.dir.join(".lock");
        let what = || format!("cannot lock {}", path.display());
        let file = File::create(&path).or_fail(Exit::Host, what())?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(Failure::new(
                Exit::Busy,
                format!("somebody else is publishing {}", self.dir.display()),
            )
            .hint("try again when they are done")),
            Err(TryLockError::Error(error)) => Err(Failure::caused(Exit::Host, what(), &error)),
        }
    }

    /// The right to number a draft. Waits for others, who hold it for a moment only.
    pub(crate) fn numbering(&self) -> Result<Lock, Failure> {
        let path = self.dir.join(".drafts.lock");
        let file = File::create(&path).and_then(|file| file.lock().map(|()| file));
        Ok(Lock(file.or_fail(Exit::Host, format!("cannot lock {}", path.display()))?))
    }

    /// What is published, verified; `None` before the first publication.
    pub(crate) fn published(&self) -> Result<Option<Published>, Failure> {
        Published::read(&mut self.source())
            .map_err(|error| tell::authoring(format!("cannot use {}", self.dir.display()), &error))
    }

    /// What is published, where something must be.
    pub(crate) fn must_be_published(&self) -> Result<Published, Failure> {
        self.published()?.ok_or_else(|| {
            Failure::new(Exit::Input, format!("nothing is published in {} yet", self.dir.display()))
                .hint(
                    "merge the signatures of the first draft, then `countersign-metadata publish`",
                )
        })
    }

    /// All drafts, oldest first.
    pub(crate) fn drafts(
        &self,
        mut published: Option<&mut Published>,
    ) -> Result<Vec<DraftDir>, Failure> {
        let drafts = self.drafts_dir();
        let names = self.draft_names()?.into_iter();
        names.map(|n| DraftDir::open(self, &drafts.join(n), published.as_deref_mut())).collect()
    }

    /// The draft that is meant by `0002`, `2`, `0002-NAME` or `NAME`.
    pub(crate) fn draft(
        &self,
        wanted: &str,
        published: Option<&mut Published>,
    ) -> Result<DraftDir, Failure> {
        let names = self.draft_names()?;
        let is = |name: &&String| {
            let (number, rest) = name.split_once('-').unwrap_or((name, ""));
            let same_number = wanted.parse::<u32>().is_ok_and(|w| number.parse::<u32>() == Ok(w));
            *name == wanted || rest == wanted || same_number
        };
        let mut found = names.iter().filter(is);
        match (found.next(), found.next()) {
            (Some(name), None) => DraftDir::open(self, &self.drafts_dir().join(name), published),
            (None, _) => Err(Failure::new(Exit::Input, format!("there is no draft {wanted}"))
                .hint(format!("there are: {}", names.join(", ")))),
            (Some(_), Some(_)) => {
                Err(Failure::new(Exit::Input, format!("{wanted} may be several drafts"))
                    .hint("give its whole name"))
            }
        }
    }

    /// Directory names of drafts, sorted. What begins with a dot is a draft that was never finished.
    pub(crate) fn draft_names(&self) -> Result<Vec<String>, Failure> {
        let dir = self.drafts_dir();
        let what = || format!("cannot read {}", dir.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).or_fail(Exit::Host, what())? {
            let name =
                entry.or_fail(Exit::Host, what())?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Adds an envelope about an artifact: the envelope first, then the index that names it.
    pub(crate) fn attest(&self, artifact: &Sha256, envelope: &[u8]) -> Result<Sha256, Failure> {
        self.list(artifact, envelope, layout::attestation, |index| &mut index.envelopes)
    }

    /// Adds a Sigstore bundle about an artifact, in the same way.
    pub(crate) fn attest_bundle(
        &self,
        artifact: &Sha256,
        bundle: &[u8],
    ) -> Result<Sha256, Failure> {
        self.list(artifact, bundle, layout::bundle, |index| &mut index.bundles)
    }

    fn list(
        &self,
        artifact: &Sha256,
        bytes: &[u8],
        name: impl Fn(&Sha256, &Sha256) -> String,
        which: impl Fn(&mut Index) -> &mut Vec<Sha256>,
    ) -> Result<Sha256, Failure> {
        let digest = Sha256::of(bytes);
        let path = layout::attestation_index(artifact);
        let index = self.source().fetch(&path, limit::ATTESTATION);
        let index = index.map_err(|error| {
            Failure::caused(Exit::Host, format!("cannot read {path}"), &*error.into_cause())
        })?;
        let mut index: Index = match index {
            None => Index::default(),
            Some(bytes) => serde_json::from_slice(&bytes)
                .or_fail(Exit::Input, format!("{path} is malformed"))?,
        };
        disk::write(&self.public().join(name(artifact, &digest)), bytes)?;
        let listed = which(&mut index);
        if !listed.contains(&digest) {
            if listed.len() >= limit::ATTESTATIONS {
                let most = limit::ATTESTATIONS;
                let sentence = format!("{path} lists {most} of them, as many as readers read");
                return Err(Failure::new(Exit::Input, sentence));
            }
            listed.push(digest);
            let bytes = serde_json::to_vec_pretty(&index)
                .or_fail(Exit::Host, format!("cannot write {path}"))?;
            disk::write(&self.public().join(&path), &bytes)?;
        }
        Ok(digest)
    }
}
