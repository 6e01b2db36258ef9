//! What a stranger can check about a file: which release it is, who signed it, who reproduced it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use countersign_metadata::attestation::{self, Index, Says, VerifiedAttestation};
use countersign_metadata::digest::Hasher;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::release::Blob;
use countersign_metadata::sigstore::{self, TrustedRoot, VerifiedStatement, verify_by_anyone};
use countersign_metadata::statement::Outcome;
use countersign_metadata::trust::VerifiedTarget;
use countersign_metadata::word::{self, Word};
use countersign_metadata::{PublicKey, Release, Sha256};
use jiff::Timestamp;

use crate::durable::{DiskError, OnDisk};
use crate::net::{Mirror, NetError};
use crate::rebuilder::Rebuilder;

/// A verdict whose signature, subject and inputs have been checked; its birthplace is [`believe`].
#[derive(Clone, Debug)]
pub struct Verdict {
    by: Rebuilder,
    at: Timestamp,
    outcome: Outcome,
}

impl Verdict {
    /// Who signed it.
    pub fn by(&self) -> &Rebuilder {
        &self.by
    }

    /// When the rebuilder says that it happened.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What came out.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Whether the published bytes came out.
    pub fn reproduced(&self) -> bool {
        self.outcome == Outcome::Reproduced
    }
}

/// What attestations say about one release.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// The latest verdict of each rebuilder, in the order of their keys and names.
    pub verdicts: Vec<Verdict>,
    /// Builders whose signed provenance is there.
    pub builders: BTreeSet<Rebuilder>,
    /// What keyholders say about their own signatures; whether a key is a keyholder's is for the reader.
    pub words: BTreeSet<Word>,
    /// Envelopes and bundles that could not be believed.
    pub unbelieved: usize,
    /// Bundles that only a trusted root could judge, where the repository has none.
    pub unjudged: usize,
}

/// Who reproduced a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reproduced {
    /// Whose own build gave the same bytes.
    pub by: BTreeSet<Rebuilder>,
    /// The keyholders who signed it and whose rebuild is among these: by the same key, or by one that they vouch for.
    /// One rebuild stands for one keyholder.
    pub keyholders: BTreeSet<PublicKey>,
}

impl Verdicts {
    /// Whose own build gave the same bytes.
    pub fn reproduced_by(&self) -> BTreeSet<Rebuilder> {
        self.verdicts.iter().filter(|v| v.reproduced()).map(|v| v.by.clone()).collect()
    }

    /// Who reproduced what `signers` have signed.
    pub fn reproduced(&self, signers: &BTreeSet<PublicKey>) -> Reproduced {
        let by = self.reproduced_by();
        let did = |key: &PublicKey| by.contains(&Rebuilder::Key(*key));
        let mut keyholders: BTreeSet<_> = signers.iter().copied().filter(did).collect();
        let mut spent = keyholders.clone();
        for word in &self.words {
            let Word::Vouched { keyholder, rebuilder } = word else { continue };
            let new = signers.contains(keyholder) && !keyholders.contains(keyholder);
            if new && did(rebuilder) && spent.insert(*rebuilder) {
                keyholders.insert(*keyholder);
            }
        }
        Reproduced { by, keyholders }
    }

    /// The keys that these keyholders vouch for.
    pub fn vouched_by(&self, keyholders: &BTreeSet<PublicKey>) -> BTreeSet<PublicKey> {
        let vouched = self.words.iter().filter_map(|word| match word {
            Word::Vouched { keyholder, rebuilder } if keyholders.contains(keyholder) => {
                Some(*rebuilder)
            }
            _ => None,
        });
        vouched.collect()
    }
}

/// Reads and verifies the attestations about `release` that a mirror has. They speak for themselves, bundles with the
/// help of `root`; a mirror can hide some, but forge none.
///
/// # Errors
/// The mirror cannot be reached.
pub fn verdicts(
    mirror: &Mirror,
    release: &Release,
    root: Option<&TrustedRoot>,
) -> Result<Verdicts, NetError> {
    Ok(believe(&envelopes(mirror, release)?, release, root).0)
}

/// The envelopes and bundles about `release` that a mirror has, unverified.
///
/// # Errors
/// The mirror cannot be reached.
pub fn envelopes(mirror: &Mirror, release: &Release) -> Result<Vec<Vec<u8>>, NetError> {
    let artifact = &release.artifact.sha256;
    let index = mirror.get(&layout::attestation_index(artifact), limit::ATTESTATION)?;
    let index: Index =
        index.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let names = |list: &[Sha256], name: fn(&Sha256, &Sha256) -> String| {
        let names = list.iter().take(limit::ATTESTATIONS);
        names.map(|digest| name(artifact, digest)).collect::<Vec<_>>()
    };
    let mut paths = names(&index.envelopes, layout::attestation);
    paths.extend(names(&index.bundles, layout::bundle));
    let get = |path: String| mirror.get(&path, limit::ATTESTATION);
    paths.into_iter().map(|path| Ok(get(path)?.unwrap_or_default())).collect()
}

/// One attestation, verified.
enum Believed {
    Verdict(Verdict),
    Provenance(Rebuilder),
    Word(Word),
}

/// Verifies envelopes and bundles, from wherever they come, and hands back those that hold the verdicts and words which
/// count, each with whoever signed it.
///
/// Who signed is proven, and nothing more: whose word counts is for the policy to say.
pub fn believe<'a>(
    attestations: &'a [Vec<u8>],
    release: &Release,
    root: Option<&TrustedRoot>,
) -> (Verdicts, Vec<(Rebuilder, &'a [u8])>) {
    let mut found = Verdicts::default();
    let mut words: BTreeMap<Word, &[u8]> = BTreeMap::new();
    let mut latest: BTreeMap<Rebuilder, (Verdict, &[u8])> = BTreeMap::new();
    for bytes in attestations {
        let believed = match attestation::verify(bytes, release) {
            Ok(envelope) => Ok(of_envelope(envelope)),
            Err(_) => match word::read(bytes, release) {
                Ok(word) => Ok(Believed::Word(word)),
                Err(_) => verify_by_anyone(bytes, release, root).map(|b| of_bundle(&b)),
            },
        };
        match believed {
            Ok(Believed::Word(word)) => drop(words.entry(word).or_insert(bytes)),
            Ok(Believed::Provenance(builder)) => {
                found.builders.insert(builder);
            }
            // A correction is a new verdict: the later one counts.
            Ok(Believed::Verdict(verdict)) => match latest.get(&verdict.by) {
                Some((known, _)) if known.at >= verdict.at => {}
                _ => drop(latest.insert(verdict.by.clone(), (verdict, bytes))),
            },
            Err(sigstore::Error::NoTrustedRoot) => found.unjudged += 1,
            Err(_) => found.unbelieved += 1,
        }
    }
    let mut kept = Vec::new();
    for (rebuilder, (verdict, bytes)) in latest {
        kept.push((rebuilder, bytes));
        found.verdicts.push(verdict);
    }
    kept.extend(words.iter().map(|(word, bytes)| (Rebuilder::Key(*word.keyholder()), *bytes)));
    found.words = words.into_keys().collect();
    (found, kept)
}

fn of_envelope(envelope: VerifiedAttestation) -> Believed {
    match envelope {
        VerifiedAttestation::Provenance(builder, _) => Believed::Provenance(builder.into()),
        VerifiedAttestation::Verdict(verdict) => Believed::Verdict(Verdict {
            by: (*verdict.rebuilder()).into(),
            at: verdict.at(),
            outcome: verdict.outcome().clone(),
        }),
    }
}

fn of_bundle(bundle: &VerifiedStatement) -> Believed {
    let by = bundle.by().into();
    match bundle.says() {
        Says::Provenance(_) => Believed::Provenance(by),
        Says::Verdict { at, rebuild } => {
            Believed::Verdict(Verdict { by, at: *at, outcome: rebuild.outcome.clone() })
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The file as it is.
    pub file: Blob,
    /// The tar in it, or the file itself where it is not compressed: the identity. `None` where it is damaged.
    pub tar: Option<Blob>,
}

/// Hashes a file of at most 4 GiB, compressed with zstd or not, in one pass.
///
/// # Errors
/// It cannot be read, or is longer.
pub fn digests(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<Digests, DiskError> {
    let read = |progress| {
        let file = File::open(path)?;
        let mut outer = Hashing { inner: file, hasher: Hasher::default(), progress };
        let mut buffered = BufReader::with_capacity(128 << 10, &mut outer);
        let compressed = buffered.fill_buf()?.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        let mut inner = Hasher::default();
        let unpacked = compressed && {
            let mut decoder = zstd::Decoder::with_buffer(&mut buffered)?;
            copy(&mut decoder, &mut inner).is_ok()
        };
        // What follows the last frame belongs to the file, and a plain tar is its own identity.
        let mut rest = Hasher::default();
        copy(&mut buffered, &mut rest)?;
        drop(buffered);
        let file = blob(outer.hasher);
        let tar = match (compressed, unpacked) {
            (false, _) => Some(blob(rest)),
            (true, true) => Some(blob(inner)),
            (true, false) => None,
        };
        Ok(Digests { file, tar })
    };
    read(progress).on_disk("read", path)
}

fn copy(from: &mut dyn Read, to: &mut Hasher) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.update(&buffer[..read]);
        if to.length() > limit::ARTIFACT {
            let what = "it holds more than an artifact may";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
    }
}

fn blob(hasher: Hasher) -> Blob {
    let (sha256, length) = hasher.finish();
    Blob { sha256, length }
}

struct Hashing<'a> {
    inner: File,
    hasher: Hasher,
    progress: &'a mut dyn FnMut(u64),
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        (self.progress)(read as u64);
        Ok(read)
    }
}

/// How a file is the artifact of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Byte for byte, as served.
    AsServed,
    /// Its tar is the signed one; it was compressed otherwise, or not at all.
    SameTar,
}

/// Finds the signed release that a file is; the newest one, should several have the same bytes.
pub fn find<'a>(
    targets: &'a [VerifiedTarget],
    digests: &Digests,
) -> Option<(&'a VerifiedTarget, Match)> {
    let served = |t: &&VerifiedTarget| {
        (*t.sha256(), t.length()) == (digests.file.sha256, digests.file.length)
    };
    let same = |t: &&VerifiedTarget| Some(t.release().artifact) == digests.tar;
    let newest = |t: &&VerifiedTarget| t.release().version.clone();
    let found = targets.iter().filter(served).max_by_key(newest);
    let found = found.map(|target| (target, Match::AsServed));
    found.or_else(|| {
        let found = targets.iter().filter(same).max_by_key(newest);
        found.map(|target| (target, Match::SameTar))
    })
}

/// A release of the same name, for telling what a wrong file pretends to be.
pub fn namesake<'a>(targets: &'a [VerifiedTarget], name: &str) -> Option<&'a VerifiedTarget> {
    targets.iter().find(|target| target.release().file_name() == name)
}

/// The artifact's digest as people compare it: with `sha256sum`.
pub fn sha256sum_line(digest: &Sha256, file: &str) -> String {
    format!("{digest}  {file}")
}
