//! One file from the mirrors: each asked in turn, each answerable for its own bytes alone.

use std::fs::File;
use std::path::PathBuf;

use countersign_metadata::release::Blob;
use countersign_metadata::{Delta, layout};

use super::pace::Pace;
use super::partial::Partial;
use super::{MirrorFailure, chain};
use crate::Config;
use crate::durable::DiskError;
use crate::mirrors::{self, Fault, For, Mirrors};
use crate::net::{Mirror, NetError, Patience, Repository};

/// How often one mirror may break off and be resumed, as long as bytes keep coming.
const RESUMES: usize = 5;

/// A file of the repository, by its signed digest and length.
pub(super) struct Wanted {
    pub(super) at: String,
    pub(super) blob: Blob,
    pub(super) what: For,
}

impl Wanted {
    pub(super) fn delta(delta: &Delta) -> Self {
        Self { at: layout::delta(&delta.sha256), blob: delta.blob(), what: For::Delta }
    }
}

/// What a download needs beside the file.
pub(super) struct Download<'a> {
    pub(super) config: &'a Config,
    pub(super) mirrors: &'a mut Mirrors,
    pub(super) pace: &'a mut Pace,
    pub(super) progress: &'a mut dyn FnMut(u64),
    pub(super) patience: Patience,
}

type Tried = Vec<(Repository, MirrorFailure)>;
/// The outer error is ours and ends the download, the inner one is the mirror's.
type Asked<T> = Result<Result<T, MirrorFailure>, DiskError>;

impl Download<'_> {
    /// Asks the mirrors until one completes the file; else says what was wrong with each.
    pub(super) fn run(
        &mut self,
        wanted: &Wanted,
        mut partial: Partial,
    ) -> Result<Result<(File, PathBuf), Tried>, DiskError> {
        if partial.length() == wanted.blob.length && partial.digest() == wanted.blob.sha256 {
            return partial.complete().map(Ok);
        }
        let mut tried = Tried::new();
        let mut slow = Vec::new();
        for repository in self.in_order(wanted.what) {
            match self.ask(&repository, wanted, &mut partial, false)? {
                Ok(()) => return partial.complete().map(Ok),
                Err(failure) => {
                    if matches!(failure, MirrorFailure::Net(NetError::TooSlow { .. })) {
                        slow.push(repository.clone());
                    }
                    tried.push((repository, failure));
                }
            }
        }
        // Better slowly than not at all.
        for repository in slow {
            match self.ask(&repository, wanted, &mut partial, true)? {
                Ok(()) => return partial.complete().map(Ok),
                Err(failure) => tried.push((repository, failure)),
            }
        }
        partial.drop_if_empty()?;
        Ok(Err(tried))
    }

    /// As configured, but those that gave wrong bytes the last time come last. A delta is asked for once: where that
    /// failed, the whole file comes first.
    fn in_order(&self, what: For) -> Vec<Repository> {
        let mut all = self.config.repositories.clone();
        let trouble = |mirror: &Repository| self.mirrors.trouble(mirror, what);
        if what == For::Delta {
            all.retain(|mirror| trouble(mirror).is_none());
        }
        all.sort_by_key(|mirror| trouble(mirror).is_some_and(|t| t.fault == Fault::Untrusted));
        all
    }

    /// Asks one mirror, and keeps in mind how that went.
    fn ask(
        &mut self,
        repository: &Repository,
        wanted: &Wanted,
        partial: &mut Partial,
        patient: bool,
    ) -> Asked<()> {
        let now = mirrors::now();
        if let Some(alone) = self.mirrors.left_alone(repository, wanted.what, &now) {
            return Ok(Err(MirrorFailure::LeftAlone(alone)));
        }
        let before = partial.length();
        let others = partial.others(repository);
        let mut answer = self.complete(repository, wanted, partial, patient)?;
        let mixed = matches!(answer, Err(MirrorFailure::OtherBytes { .. })) && before > 0;
        if mixed {
            // Wrong bytes may be the fault of whoever began: alone from the beginning, it shows.
            partial.clear()?;
            answer = self.complete(repository, wanted, partial, patient)?;
        }
        match &answer {
            Ok(()) => {
                self.mirrors.worked(repository, wanted.what);
                if mixed {
                    self.name(&others, wanted.what);
                }
            }
            Err(failure) => {
                let (fault, refusal) = match failure {
                    MirrorFailure::OtherBytes { .. } => (Fault::Untrusted, None),
                    MirrorFailure::Net(error) => (mirrors::fault_of(error), Some(error)),
                    _ => (Fault::Away, None),
                };
                if fault == Fault::Untrusted {
                    partial.clear()?;
                }
                let fault = (fault, chain(failure));
                let fault = (fault.0, fault.1.as_str());
                self.mirrors.failed(repository, wanted.what, fault, refusal, &mirrors::now());
            }
        }
        Ok(answer)
    }

    /// Those that gave the beginning of a file which another mirror gave whole and right.
    fn name(&mut self, liars: &[String], what: For) {
        let configured = self.config.repositories.iter();
        for liar in configured.filter(|mirror| liars.contains(&mirror.to_string())) {
            let fault = (Fault::Untrusted, "it gave bytes that are not the signed ones");
            self.mirrors.failed(liar, what, fault, None, &mirrors::now());
        }
    }

    fn complete(
        &mut self,
        repository: &Repository,
        wanted: &Wanted,
        partial: &mut Partial,
        patient: bool,
    ) -> Asked<()> {
        let mirror =
            match Mirror::with_patience(repository, &self.config.fetch.proxy, self.patience) {
                Ok(mirror) if patient => mirror.patient(),
                Ok(mirror) => mirror,
                Err(error) => return Ok(Err(error.into())),
            };
        for _ in 0..RESUMES {
            let before = partial.length();
            if before == wanted.blob.length {
                break;
            }
            match self.append(&mirror, wanted, partial)? {
                // A server may give less than the rest at a time.
                Ok(()) if partial.length() > before => {}
                Ok(()) => break,
                Err(MirrorFailure::Net(NetError::CutOff { .. })) if partial.length() > before => {}
                Err(failure) => return Ok(Err(failure)),
            }
        }
        let (wanted, found) = (wanted.blob, partial.length());
        if found < wanted.length {
            return Ok(Err(MirrorFailure::Short { wanted: wanted.length, found }));
        }
        let (wanted, found) = (wanted.sha256, partial.digest());
        Ok(if found == wanted { Ok(()) } else { Err(MirrorFailure::OtherBytes { wanted, found }) })
    }

    fn append(&mut self, mirror: &Mirror, wanted: &Wanted, partial: &mut Partial) -> Asked<()> {
        let repository = mirror.repository();
        let etag = partial.etag(repository);
        let from = partial.length();
        let mut body = match mirror.open(&wanted.at, from, etag.as_deref(), wanted.blob.length) {
            Ok(Some(body)) => body,
            Ok(None) => return Ok(Err(MirrorFailure::Missing(wanted.at.clone()))),
            Err(error) => return Ok(Err(error.into())),
        };
        if body.starts_at() != from {
            partial.clear()?;
        }
        partial.comes_from(repository, body.etag())?;
        let mut buffer = vec![0; self.pace.chunk()];
        loop {
            match body.next(&mut buffer) {
                Ok(0) => return Ok(Ok(())),
                Ok(read) => {
                    partial.push(&buffer[..read])?;
                    (self.progress)(read as u64);
                    self.pace.passed(read as u64);
                }
                Err(error) => return Ok(Err(error.into())),
            }
        }
    }
}
