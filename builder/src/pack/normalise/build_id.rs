//! ELF: the build id lies in a note, as long as the linker chose.

use countersign_metadata::Sha256;
use object::{Object, ObjectSection};

/// Makes the build id a digest of the file without it.
pub(super) fn derive(bytes: &mut [u8]) -> Option<()> {
    let place = place(bytes)?;
    bytes.get_mut(place.clone())?.fill(0);
    let digest = hex::decode(Sha256::of(bytes).to_string()).ok()?;
    let id = bytes.get_mut(place)?;
    let length = id.len().min(digest.len());
    id[..length].copy_from_slice(&digest[..length]);
    Some(())
}

/// The note's descriptor: after three words (lengths and type) and the name `GNU\0`.
fn place(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    if !bytes.starts_with(b"\x7fELF") {
        return None;
    }
    let file = object::File::parse(bytes).ok()?;
    let (start, length) = file.section_by_name(".note.gnu.build-id")?.file_range()?;
    let (start, length) = (usize::try_from(start).ok()?, usize::try_from(length).ok()?);
    let end = start.checked_add(length)?;
    (length > 16 && bytes.get(start + 12..start + 16) == Some(b"GNU\0") && end <= bytes.len())
        .then_some(start + 16..end)
}
