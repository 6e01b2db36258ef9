//! Unpacks a `.deb` into a tree. None of its scripts is run.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use object::read::ReadCache;
use object::read::archive::ArchiveFile;

use super::layer::{CAP, node, told};
use super::tree::{Node, Tree, TreeError};
use crate::pack::{Cap, Kind, Member, UnpackError, decompressed, each_of_root};

/// Directories that merged systems have below `/usr`.
pub(super) const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// What of a package's files a build can need; the rest is for a running machine.
const TAKEN: [&str; 3] = ["usr", "opt", "etc"];
/// Longest control file or script.
const MAX_CONTROL: u64 = 4 << 20;
const CONTROL_CAP: Cap = Cap { bytes: 64 << 20, members: 4096 };

/// What a package says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    /// `Package`.
    pub(super) name: String,
    /// `Version`.
    pub(super) version: String,
    /// The script that would be run after unpacking; it is only read.
    pub(super) postinst: String,
}

/// A member of the outer archive: where in the file it is.
struct Part {
    name: String,
    start: u64,
    length: u64,
}

/// Lays a package's files into the tree.
pub(super) fn unpack(path: &Path, tree: &mut Tree) -> Result<Control, UnpackError> {
    let parts = parts(path)?;
    let is_format = |part: &Part| part.name == "debian-binary" && part.length < 64;
    let mut format = String::new();
    if let Some(part) = parts.first().filter(|part| is_format(part)) {
        let mut text = open(path, part)?;
        text.read_to_string(&mut format).map_err(|e| io(path, e))?;
    }
    if !format.starts_with("2.") {
        return Err(refused("debian-binary", "this is no Debian package of format 2"));
    }
    let one = |begin: &str| {
        let mut found = parts.iter().filter(|part| part.name.starts_with(begin));
        match (found.next(), found.next()) {
            (Some(part), None) => Ok(part),
            (None, _) => Err(refused(begin, "the package has none")),
            (Some(_), Some(_)) => Err(refused(begin, "the package has several")),
        }
    };
    let control = control(path, one("control.tar")?)?;
    let data = decompressed(open(path, one("data.tar")?)?).map_err(|e| io(path, e))?;
    each_of_root(data, CAP, &mut |member, body| {
        one_member(tree, member, body).map_err(|e| told(member, e))
    })?;
    Ok(control)
}

fn parts(path: &Path) -> Result<Vec<Part>, UnpackError> {
    let broken = |what: &str| refused("the package", what);
    let file = crate::files::open_no_link(path).map_err(|e| io(path, e))?;
    let whole = file.metadata().map_err(|e| io(path, e))?.len();
    let cache = ReadCache::new(BufReader::new(file));
    let archive = ArchiveFile::parse(&cache).map_err(|e| broken(&e.to_string()))?;
    let mut parts = Vec::new();
    for member in archive.members() {
        let member = member.map_err(|e| broken(&e.to_string()))?;
        let (start, length) = member.file_range();
        if start.checked_add(length).is_none_or(|end| end > whole) || parts.len() == 16 {
            return Err(broken("it ends inside a member, or has too many"));
        }
        parts.push(Part {
            name: String::from_utf8_lossy(member.name()).into_owned(),
            start,
            length,
        });
    }
    Ok(parts)
}

fn open(path: &Path, part: &Part) -> Result<BufReader<impl Read + use<>>, UnpackError> {
    let mut file: File = crate::files::open_no_link(path).map_err(|e| io(path, e))?;
    file.seek(SeekFrom::Start(part.start)).map_err(|e| io(path, e))?;
    Ok(BufReader::with_capacity(1 << 16, file.take(part.length)))
}

fn control(path: &Path, part: &Part) -> Result<Control, UnpackError> {
    let mut control = Control::default();
    let tar = decompressed(open(path, part)?).map_err(|e| io(path, e))?;
    each_of_root(tar, CONTROL_CAP, &mut |member, body| {
        let name = member.path.as_str();
        if !["control", "postinst"].contains(&name) || member.kind != Kind::File {
            return Ok(());
        }
        if member.length > MAX_CONTROL {
            return Err(refused(name, "it is too long"));
        }
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes).map_err(|e| io(path, e))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if name == "postinst" {
            control.postinst = text;
            return Ok(());
        }
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        control.name = field("Package");
        control.version = field("Version");
        Ok(())
    })?;
    Ok(control)
}

/// Where in a merged tree a path of a package belongs; `None` for what no build needs.
fn merged(path: &str) -> Option<String> {
    let top = path.split('/').next().unwrap_or(path);
    if MERGED.contains(&top) {
        return Some(format!("usr/{path}"));
    }
    (TAKEN.contains(&top) && !super::gather::is_documentation(path)).then(|| path.to_owned())
}

fn one_member(tree: &mut Tree, member: &Member, body: &mut dyn Read) -> Result<(), TreeError> {
    let Some(path) = merged(member.path.as_str()) else { return Ok(()) };
    let path = tree.place(&path)?;
    let kind = match &member.kind {
        // A directory that a link stands for already.
        Kind::Directory if tree.get(&path).is_some() => return Ok(()),
        Kind::Directory => return tree.put(path, Node::Directory),
        Kind::Hardlink(first) => match merged(first.as_str()).and_then(|p| p.parse().ok()) {
            Some(first) => Kind::Hardlink(first),
            None => return Ok(()),
        },
        other => other.clone(),
    };
    let node = node(tree, &kind, member, body)?;
    match tree.get(&path) {
        None => tree.put(path, node),
        Some(there) if is_same(there, &node) => Ok(()),
        Some(_) => Err(TreeError::Refused {
            path,
            what: "another package has something else there".to_owned(),
        }),
    }
}

fn is_same(one: &Node, other: &Node) -> bool {
    match (one, other) {
        (
            Node::File { executable: x, sha256: a, .. },
            Node::File { executable: y, sha256: b, .. },
        ) => (x, a) == (y, b),
        _ => one == other,
    }
}

fn refused(member: &str, what: &str) -> UnpackError {
    UnpackError::Refused { member: member.to_owned(), what: what.to_owned() }
}

fn io(path: &Path, source: std::io::Error) -> UnpackError {
    UnpackError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::packages::{ar_of, tar_of};

    fn package(members: &[(&str, tar::EntryType, u32, &str)]) -> Vec<u8> {
        let control = "Package: thing\nVersion: 1:2-3\n";
        let control = tar_of(&[("./control", tar::EntryType::Regular, 0o644, control)]);
        let data = zstd::encode_all(&*tar_of(members), 1).unwrap();
        ar_of(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.zst", &data)])
    }

    fn unpacked(bytes: &[u8]) -> Result<(Control, Tree), UnpackError> {
        let dir = tempfile::tempdir().unwrap().keep();
        std::fs::write(dir.join("x.deb"), bytes).unwrap();
        let mut tree = Tree::new(&dir).unwrap();
        let control = unpack(&dir.join("x.deb"), &mut tree)?;
        std::fs::remove_dir_all(dir).unwrap();
        Ok((control, tree))
    }

    use tar::EntryType as T;

    #[test]
    fn a_package_lands_merged_without_documentation_and_without_set_uid() {
        let (control, tree) = unpacked(&package(&[
            ("./", T::Directory, 0o755, ""),
            ("./bin/", T::Directory, 0o755, ""),
            ("./bin/su", T::Regular, 0o4755, "su"),
            ("./bin/su2", T::Link, 0o4755, "./bin/su"),
            ("./usr/bin/thing", T::Regular, 0o755, "x"),
            ("./usr/share/doc/thing/copyright", T::Regular, 0o644, "x"),
            ("./var/lib/thing", T::Regular, 0o644, "x"),
            ("./usr/lib/unit\\x2d.service", T::Regular, 0o644, "x"),
            ("./etc/thing", T::Symlink, 0o777, "/usr/bin/thing"),
        ]))
        .unwrap();
        assert_eq!((control.name.as_str(), control.version.as_str()), ("thing", "1:2-3"));
        let mut wanted = crate::environment::Listing::default();
        for (path, text) in [("usr/bin/su", "su"), ("usr/bin/su2", "su"), ("usr/bin/thing", "x")] {
            let sha256 = countersign_metadata::Sha256::of(text.as_bytes());
            let entry = crate::environment::listing::Entry::File { executable: true, sha256 };
            wanted.add(path.to_owned(), entry);
        }
        let link = crate::environment::listing::Entry::Link("/usr/bin/thing".to_owned());
        wanted.add("etc/thing".to_owned(), link);
        assert_eq!(tree.listing(), wanted);
        assert_eq!(tree.tamed.iter().collect::<Vec<_>>(), ["bin/su"]);
    }

    #[test]
    fn a_hostile_package_is_refused_by_name() {
        let file = |path| package(&[(path, T::Regular, 0o644, "x")]);
        let cases: Vec<(Vec<u8>, &str)> = vec![
            (file("./usr/../../x"), "usr/../../x"),
            (file("/etc/x"), "absolute"),
            (package(&[("./usr/dev", T::Char, 0o644, "")]), "usr/dev"),
            (package(&[("./usr/x", T::Link, 0o644, "usr/none")]), "no earlier file"),
            (
                package(&[
                    ("./usr/x", T::Regular, 0o644, "1"),
                    ("./usr/x", T::Regular, 0o644, "2"),
                ]),
                "something else",
            ),
            (ar_of(&[("debian-binary", b"2.0\n")]), "control.tar"),
            (ar_of(&[("debian-binary", b"3.0\n")]), "format 2"),
            (b"!<arch>\n".to_vec(), "format 2"),
            (b"garbage".to_vec(), "the package"),
            (package(&[])[..200].to_vec(), "package"),
        ];
        for (bytes, wanted) in cases {
            let error = unpacked(&bytes).err().unwrap().to_string();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_its_cap() {
        let mut bomb = Vec::new();
        let mut encoder = zstd::Encoder::new(&mut bomb, 3).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(80 << 20), &mut encoder).unwrap();
        encoder.finish().unwrap();
        let bytes =
            ar_of(&[("debian-binary", b"2.0\n"), ("control.tar.zst", &bomb), ("data.tar", b"")]);
        // An archive of zeros ends at once: nothing of it is read.
        assert!(unpacked(&bytes).is_ok());
        let mut header = tar::Header::new_gnu();
        header.set_path("control").unwrap();
        header.set_mode(0o644);
        header.set_size(80 << 20);
        header.set_cksum();
        let tar = std::io::Read::chain(&header.as_bytes()[..], std::io::repeat(0).take(80 << 20));
        let bomb = zstd::encode_all(tar, 3).unwrap();
        let bytes =
            ar_of(&[("debian-binary", b"2.0\n"), ("control.tar.zst", &bomb), ("data.tar", b"")]);
        let error = unpacked(&bytes).err().unwrap().to_string();
        assert!(error.contains("too long"), "{error}");
    }
}
