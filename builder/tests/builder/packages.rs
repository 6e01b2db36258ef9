//! Archives as Debian's packages hold them, made by hand: with any name, kind and mode.

/// Path, kind, mode, and the content of a file or the target of a link.
pub(crate) type Member<'a> = (&'a str, tar::EntryType, u32, &'a str);

pub(crate) fn tar_of(members: &[Member<'_>]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, mode, text) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        // Written raw: the crate itself refuses some of the names that are tried.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let body = if kind.is_file() { text.as_bytes() } else { &[] };
        if !kind.is_file() {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        header.set_size(body.len() as u64);
        header.set_cksum();
        tar.append(&header, body).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn ar_of(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, body) in parts {
        let (zero, mode, length) = (0, 100_644, body.len());
        bytes.extend(
            format!("{name:<16}{zero:<12}{zero:<6}{zero:<6}{mode:<8}{length:<10}`\n").bytes(),
        );
        bytes.extend_from_slice(body);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}
