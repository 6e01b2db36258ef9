//! The difference between a release and those before it, so that nodes which have one fetch less.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::Path;

use countersign_console::{Exit, Failure, Hint, Progress};
use countersign_metadata::authoring::Published;
use countersign_metadata::delta::WINDOW_LOG;
use countersign_metadata::layout;
use countersign_metadata::release::{Blob, target_path};
use countersign_metadata::trust::VerifiedTarget;
use countersign_metadata::{Delta, Release, Sha256, Version};

use crate::repository::Repository;
use crate::{disk, tell};

/// Longest tar that differences are made of: six times as much memory is needed.
const LONGEST: u64 = 1 << 30;
/// A file shorter than this is not worth a second one.
const SHORTEST: u64 = 64 << 10;
const LEVEL: i32 = 19;

/// Which versions nodes may come from.
pub(crate) enum From<'a> {
    Nothing,
    /// The newest one before it that is published for the same platform, if that is worth it.
    Newest,
    /// These, whatever it costs.
    These(&'a [Version]),
}

/// A delta that was made and tried.
pub(crate) struct Made {
    pub(crate) from: Version,
    pub(crate) delta: Delta,
    bytes: Vec<u8>,
}

/// Makes the deltas of a release whose artifact lies at `artifact`.
pub(crate) fn make(
    repository: &Repository,
    published: &mut Published,
    (release, served): (&Release, Blob),
    artifact: &Path,
    from: From<'_>,
    progress: &Progress,
) -> Result<Vec<Made>, Failure> {
    let (bases, asked) = match from {
        From::Nothing => return Ok(Vec::new()),
        From::Newest if served.length < SHORTEST => return Ok(Vec::new()),
        From::Newest => (newest(published, release).into_iter().collect(), false),
        From::These(versions) => (named(repository, published, release, versions)?, true),
    };
    let mut made: Vec<Made> = Vec::new();
    let mut new = None;
    for base in &bases {
        let (old, file) = (base.release(), repository.public().join(base.served_at()));
        let long = old.artifact.length.max(release.artifact.length) > LONGEST;
        if !asked && (long || !file.exists()) {
            continue;
        }
        if long {
            let sentence = format!("no difference is made of tars of more than {LONGEST} bytes");
            return Err(Failure::new(Exit::Input, sentence).hint("leave --delta-from away"));
        }
        progress.now(&format!("comparing with {}", old.version));
        let old_tar = tar(&file, old.artifact)?;
        if new.is_none() {
            new = Some(tar(artifact, release.artifact)?);
        }
        let new_tar = new.as_deref().unwrap_or_default();
        let bytes = difference(&old_tar, new_tar)
            .or_fail(Exit::Host, format!("cannot make the difference to {}", old.version))?;
        try_out(&bytes, &old_tar, release)?;
        // Where most of it is new, one whole file is better than two.
        if !asked && bytes.len() as u64 > served.length / 4 * 3 {
            continue;
        }
        let (sha256, length) = (Sha256::of(&bytes), bytes.len() as u64);
        let delta = Delta { from: old.artifact.sha256, sha256, length };
        if made.iter().all(|other| other.delta.from != delta.from) {
            made.push(Made { from: old.version.clone(), delta, bytes });
        }
    }
    Ok(made)
}

/// Writes them into a draft.
pub(crate) fn stage(to: &Path, made: &[Made]) -> Result<(), Failure> {
    made.iter()
        .try_for_each(|made| disk::write(&to.join(layout::delta(&made.delta.sha256)), &made.bytes))
}

fn newest(published: &Published, release: &Release) -> Option<VerifiedTarget> {
    let revoked = published.revoked(&release.product);
    let before = published.releases().iter().filter(|target| {
        let old = target.release();
        old.product == release.product
            && old.platform == release.platform
            && old.version < release.version
            && old.artifact.sha256 != release.artifact.sha256
            && !revoked.contains(&old.version)
    });
    before.max_by_key(|target| target.release().version.clone()).cloned()
}

fn named(
    repository: &Repository,
    published: &mut Published,
    release: &Release,
    versions: &[Version],
) -> Result<Vec<VerifiedTarget>, Failure> {
    let find = |version: &Version| {
        let path = target_path(&release.product, version, &release.platform);
        let found = published
            .find(&path, &mut repository.source())
            .map_err(|error| tell::authoring(format!("cannot look for {version}"), &error))?;
        found.ok_or_else(|| {
            let platform = &release.platform;
            Failure::new(Exit::Input, format!("{version} is not published for {platform}"))
                .hint("--delta-from names a version that nodes may have: `countersign-metadata status` lists them")
        })
    };
    versions.iter().map(find).collect()
}

/// The canonical tar in an artifact as served.
fn tar(path: &Path, wanted: Blob) -> Result<Vec<u8>, Failure> {
    let read = || {
        let mut bytes = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(File::open(path)?)?;
        decoder.take(wanted.length + 1).read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = read().or_fail(Exit::Input, format!("cannot unpack {}", path.display()))?;
    if Sha256::of(&bytes) == wanted.sha256 {
        return Ok(bytes);
    }
    let sentence = format!("{} does not unpack to the tar that was signed", path.display());
    Err(Failure::new(Exit::Untrusted, sentence)
        .hint("this copy of the repository is damaged; --no-deltas leaves it out"))
}

fn difference(old: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.include_checksum(true)?;
    bidiff::simple_diff(old, new, &mut encoder)?;
    encoder.finish()
}

/// Does with it what a node will do.
fn try_out(delta: &[u8], old: &[u8], release: &Release) -> Result<(), Failure> {
    let wrong = || format!("the difference does not give {}", release.version);
    let apply = || {
        let mut decoder = zstd::stream::read::Decoder::new(delta)?;
        decoder.window_log_max(WINDOW_LOG)?;
        let reader = bipatch::Reader::new(BufReader::new(decoder), Cursor::new(old));
        let reader = reader.map_err(io::Error::other)?;
        let mut hasher = countersign_metadata::digest::Hasher::default();
        io::copy(&mut reader.take(release.artifact.length + 1), &mut hasher)?;
        Ok::<_, io::Error>(hasher.finish().0)
    };
    match apply().or_fail(Exit::Host, wrong())? == release.artifact.sha256 {
        true => Ok(()),
        false => Err(Failure::new(Exit::Host, wrong()).hint("--no-deltas publishes without")),
    }
}
