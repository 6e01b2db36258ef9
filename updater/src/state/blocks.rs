//! A file's bytes, block by block, holes left out: so a sparse file of a terabyte costs what it holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use countersign_metadata::Sha256;
use countersign_metadata::digest::Hasher;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

pub(super) const BLOCK: usize = 64 << 10;

/// Reads `from`, as long as it is now, and gives every block that is not all zeroes to `each`. The digest is over
/// those blocks, each with its offset, and the length: it does not depend on where a file system puts holes.
///
/// A file that is being written is read as some mixture of its moments, and the digest is that mixture's: what is
/// appended meanwhile is left out, and where it was cut off is its end.
pub(super) fn read(
    from: &File,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<(Sha256, u64)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; BLOCK];
    let mut length = from.metadata()?.len();
    let mut offset = 0u64;
    while let Some(data) = next_data(from, offset)?.filter(|data| *data < length) {
        offset = data - data % BLOCK as u64;
        let wanted = usize::try_from(length - offset).map_or(BLOCK, |left| left.min(BLOCK));
        let filled = fill(from, offset, &mut buffer[..wanted])?;
        let block = &buffer[..filled];
        if block.iter().any(|byte| *byte != 0) {
            hasher.update(&offset.to_be_bytes());
            hasher.update(block);
            each(offset, block)?;
        }
        if filled < wanted {
            length = offset + filled as u64;
        }
        offset += BLOCK as u64;
    }
    hasher.update(&length.to_be_bytes());
    Ok((hasher.finish().0, length))
}

/// Where data goes on at or after `offset`; `None` at the end.
fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    let signed = i64::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
    match lseek(file, signed, Whence::SeekData) {
        Ok(data) => Ok(Some(data.cast_unsigned())),
        Err(Errno::ENXIO) => Ok(None),
        // A file system without holes: all of it is data.
        Err(Errno::EINVAL) => Ok((offset < file.metadata()?.len()).then_some(offset)),
        Err(errno) => Err(errno.into()),
    }
}

fn fill(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_written_zeroes_have_the_same_digest_and_a_length_counts() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, parts: &[(u64, &[u8])], length: u64| {
            let path = dir.path().join(name);
            let file = File::options().create_new(true).read(true).write(true).open(path).unwrap();
            file.set_len(length).unwrap();
            for (offset, bytes) in parts {
                file.write_all_at(bytes, *offset).unwrap();
            }
            read(&file, |_, _| Ok(())).unwrap()
        };
        let sparse = make("sparse", &[(1 << 40, b"end")], (1 << 40) + 3);
        assert_eq!(sparse.1, (1 << 40) + 3);
        let holes = make("holes", &[(200_000, b"x")], 300_000);
        let zeroes = make("zeroes", &[(0, &[0; 200_000]), (200_000, b"x")], 300_000);
        assert_eq!(holes, zeroes);
        assert_ne!(holes.0, make("longer", &[(200_000, b"x")], 300_001).0);
        assert_ne!(holes.0, make("moved", &[(200_001, b"x")], 300_000).0);
        let growing = dir.path().join("growing");
        std::fs::write(&growing, "abc").unwrap();
        let mut appends = File::options().append(true).open(&growing).unwrap();
        let file = File::open(&growing).unwrap();
        let seen = read(&file, |_, _| std::io::Write::write_all(&mut appends, b"more")).unwrap();
        assert_eq!(seen, make("as it was", &[(0, b"abc")], 3));
        assert_ne!(make("empty", &[], 0).0, make("zero", &[], 1).0);
    }
}
