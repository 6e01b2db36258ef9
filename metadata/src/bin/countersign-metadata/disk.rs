//! Files: read with a limit, written so that a reader sees the old or the new one and nothing between.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use countersign_console::{Exit, Failure, Hint, Progress};
use countersign_metadata::digest::Hasher;
use countersign_metadata::release::Blob;
use countersign_metadata::trust::{Source, SourceError};

/// A directory as a repository.
pub(crate) struct Directory(pub(crate) PathBuf);

impl Source for Directory {
    fn fetch(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, SourceError> {
        match File::open(self.0.join(path)) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(max_bytes + 1).read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A small file of the user's.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).or_fail(Exit::Input, cannot())?;
    file.take(limit + 1).read_to_end(&mut bytes).or_fail(Exit::Input, cannot())?;
    if bytes.len() as u64 > limit {
        return Err(Failure::new(
            Exit::Input,
            format!("{} is longer than the {limit} bytes that are read", path.display()),
        ));
    }
    Ok(bytes)
}

/// Replaces a file in one step: temporary file beside it, fsync, rename, fsync of the directory.
///
/// The temporary name is fixed, so that an interrupted run leaves one file to be overwritten, not a heap.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    put(path, |file| file.write_all(bytes))
}

/// Copies a file in one step, and only if it is what is expected.
pub(crate) fn copy(
    from: &Path,
    to: &Path,
    expected: Blob,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut source =
        File::open(from).or_fail(Exit::Input, format!("cannot read {}", from.display()))?;
    let mut hasher = Hasher::default();
    put(to, |file| {
        // One byte more than expected shows that it is longer.
        let mut limited = (&mut source).take(expected.length + 1);
        pour(&mut limited, progress, |bytes| {
            hasher.update(bytes);
            file.write_all(bytes)
        })?;
        let (sha256, length) = std::mem::take(&mut hasher).finish();
        if (Blob { sha256, length }) == expected {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not the file with SHA-256 {}", from.display(), expected.sha256),
        ))
    })
}

/// Digest and length of a file.
pub(crate) fn digest(path: &Path, limit: u64, progress: &Progress) -> Result<Blob, Failure> {
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(path).or_fail(Exit::Input, cannot())?;
    digest_stream(&mut file.take(limit + 1), progress).or_fail(Exit::Input, cannot())
}

/// Digest and length of everything that a stream gives.
pub(crate) fn digest_stream(stream: &mut dyn Read, progress: &Progress) -> io::Result<Blob> {
    let mut hasher = Hasher::default();
    pour(stream, progress, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    let (sha256, length) = hasher.finish();
    Ok(Blob { sha256, length })
}

fn pour(
    from: &mut dyn Read,
    progress: &Progress,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                sink(&buffer[..n])?;
                progress.add(n as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn put(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), Failure> {
    let what = || format!("cannot write {}", path.display());
    let no_parent = || Failure::new(Exit::Host, what());
    let (dir, name) = path.parent().zip(path.file_name()).ok_or_else(no_parent)?;
    make_dir(dir)?;
    let part = dir.join(format!(".{}.part", name.to_string_lossy()));
    let result = File::create(&part).and_then(|mut file| {
        fill(&mut file)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        sync_dir(dir)
    });
    result.map_err(|error| {
        let _best_effort = fs::remove_file(&part);
        let wrong_bytes = error.kind() == io::ErrorKind::InvalidData;
        Failure::caused(if wrong_bytes { Exit::Untrusted } else { Exit::Host }, what(), &error)
    })
}

/// Makes a directory and what is missing above it, durably.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Failure> {
    if dir.as_os_str().is_empty() || dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(Path::new(""));
    make_dir(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(Failure::caused(Exit::Host, format!("cannot make {}", dir.display()), &error))
        }
        _ => sync_dir(parent).or_fail(Exit::Host, format!("cannot sync {}", parent.display())),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}
