//! Opens an archive by its first bytes: how it is compressed, and whether it is a zip.

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::read::{Cap, Strip, UnpackError};
use super::unpack::unpack;
use super::zip::unpack_zip;

/// Most memory that xz may take to decompress: twice what its largest preset needs.
const XZ_MEMORY: u64 = 256 << 20;
const BUFFER: usize = 1 << 16;

/// Unpacks an archive (zip, or a tar: plain, gzip, bzip2, xz or zstd) into `to`, as [`unpack`] does.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_file(path: &Path, to: &Path, cap: Cap, strip: Strip) -> Result<(), UnpackError> {
    let failed = |source| failed(path, source);
    let file = crate::files::open_regular(path, 0).map_err(failed)?;
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let first = reader.fill_buf().map_err(failed)?;
    if first.starts_with(b"PK\x03\x04") || first.starts_with(b"PK\x05\x06") {
        return unpack_zip(reader.into_inner(), to, cap, strip);
    }
    unpack(decompressed(reader).map_err(failed)?, to, cap, strip)
}

/// Opens a tar: plain, gzip, bzip2, xz or zstd by its first bytes.
///
/// # Errors
/// It cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn Read>, UnpackError> {
    let failed = |source| failed(path, source);
    let file = crate::files::open_regular(path, 0).map_err(failed)?;
    decompressed(BufReader::with_capacity(BUFFER, file)).map_err(failed)
}

fn failed(path: &Path, source: io::Error) -> UnpackError {
    UnpackError::Io { path: path.to_owned(), source }
}

/// What a reader gives, decompressed by its first bytes.
pub(crate) fn decompressed<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    match reader.fill_buf()? {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Box::new(zstd::Decoder::with_buffer(reader)?)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            let concatenated = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, concatenated)?;
            Ok(Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream)))
        }
        [b'B', b'Z', b'h', ..] => Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(reader))),
        _ => Ok(Box::new(reader)),
    }
}
