//! What a stranger can check about a file: which release it is, who signed it, who reproduced it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use countersign_metadata::attestation::{self, Index, VerifiedAttestation, VerifiedVerdict};
use countersign_metadata::digest::Hasher;
use countersign_metadata::layout::{self, limit};
use countersign_metadata::release::Blob;
use countersign_metadata::trust::VerifiedTarget;
use countersign_metadata::word::{self, Word};
use countersign_metadata::{PublicKey, Release, Sha256};

use crate::durable::{DiskError, OnDisk};
use crate::net::{Mirror, NetError};

/// What attestations say about one release.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// The latest verdict of each rebuilder, in the order of their keys.
    pub verdicts: Vec<VerifiedVerdict>,
    /// Builders whose signed provenance is there.
    pub builders: BTreeSet<PublicKey>,
    /// What keyholders say about their own signatures; whether a key is a keyholder's is for the reader.
    pub words: BTreeSet<Word>,
    /// Envelopes that could not be believed.
    pub unbelieved: usize,
}

/// Who reproduced a release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reproduced {
    /// Whose own build gave the same bytes.
    pub by: BTreeSet<PublicKey>,
    /// The keyholders who signed it and whose rebuild is among these: by the same key, or by one that they vouch for.
    /// One rebuild stands for one keyholder.
    pub keyholders: BTreeSet<PublicKey>,
}

impl Verdicts {
    /// Whose own build gave the same bytes.
    pub fn reproduced_by(&self) -> BTreeSet<PublicKey> {
        self.verdicts.iter().filter(|v| v.reproduced()).map(|v| *v.rebuilder()).collect()
    }

    /// Who reproduced what `signers` have signed.
    pub fn reproduced(&self, signers: &BTreeSet<PublicKey>) -> Reproduced {
        let by = self.reproduced_by();
        let mut keyholders: BTreeSet<_> = by.intersection(signers).copied().collect();
        let mut spent = keyholders.clone();
        for word in &self.words {
            let Word::Vouched { keyholder, rebuilder } = word else { continue };
            let new = signers.contains(keyholder) && !keyholders.contains(keyholder);
            if new && by.contains(rebuilder) && spent.insert(*rebuilder) {
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

/// Reads and verifies the attestations about `release` that a mirror has. They speak for themselves; a mirror can
/// hide some, but forge none.
///
/// # Errors
/// The mirror cannot be reached.
pub fn verdicts(mirror: &Mirror, release: &Release) -> Result<Verdicts, NetError> {
    Ok(believe(&envelopes(mirror, release)?, release).0)
}

/// The envelopes about `release` that a mirror has, unverified.
///
/// # Errors
/// The mirror cannot be reached.
pub fn envelopes(mirror: &Mirror, release: &Release) -> Result<Vec<Vec<u8>>, NetError> {
    let artifact = &release.artifact.sha256;
    let index = mirror.get(&layout::attestation_index(artifact), limit::ATTESTATION)?;
    let index: Index =
        index.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    let names = index.envelopes.iter().take(limit::ATTESTATIONS);
    let get = |name| mirror.get(&layout::attestation(artifact, name), limit::ATTESTATION);
    names.map(|name| Ok(get(name)?.unwrap_or_default())).collect()
}

/// Verifies envelopes, from wherever they come, and hands back those that hold the verdicts and words which count, each
/// with the key that signed it.
pub fn believe<'a>(
    envelopes: &'a [Vec<u8>],
    release: &Release,
) -> (Verdicts, Vec<(PublicKey, &'a [u8])>) {
    let mut found = Verdicts::default();
    let mut words: BTreeMap<Word, &[u8]> = BTreeMap::new();
    let mut latest: BTreeMap<PublicKey, (VerifiedVerdict, &[u8])> = BTreeMap::new();
    for bytes in envelopes {
        match attestation::verify(bytes, release) {
            Ok(VerifiedAttestation::Provenance(builder, _)) => {
                found.builders.insert(builder);
            }
            // A correction is a new verdict: the later one counts.
            Ok(VerifiedAttestation::Verdict(verdict)) => match latest.get(verdict.rebuilder()) {
                Some((known, _)) if known.at() >= verdict.at() => {}
                _ => drop(latest.insert(*verdict.rebuilder(), (verdict, bytes))),
            },
            Err(_) => match word::read(bytes, release) {
                Ok(word) => drop(words.entry(word).or_insert(bytes)),
                Err(_) => found.unbelieved += 1,
            },
        }
    }
    let mut kept = Vec::new();
    for (rebuilder, (verdict, bytes)) in latest {
        kept.push((rebuilder, bytes));
        found.verdicts.push(verdict);
    }
    kept.extend(words.iter().map(|(word, bytes)| (*word.keyholder(), *bytes)));
    found.words = words.into_keys().collect();
    (found, kept)
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
