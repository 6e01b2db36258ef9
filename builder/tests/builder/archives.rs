//! Archives: ours are equal wherever they are made, others' are refused where they could do harm.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use countersign_builder::pack::{
    Cap, Plan, Strip, UnpackError, open, unpack, unpack_file, write_artifact, write_tar,
};
use countersign_metadata::Sha256;

const EPOCH: u64 = 1_767_225_600;

fn digest(dir: &Path) -> Sha256 {
    write_tar(&Plan::of_directory(dir).unwrap(), EPOCH, &mut std::io::sink()).unwrap().sha256
}

fn file(dir: &Path, name: &str, text: &[u8], mode: u32) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn equal_trees_give_equal_bytes_however_they_are_stored() {
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let names = ["b", "a", "a-b", "a.d/x", long.as_str(), "é"];
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in names {
        file(one.path(), name, b"same", 0o644);
    }
    file(one.path(), "run", b"same", 0o755);
    file(one.path(), "holes", &vec![0; 1 << 20], 0o644);
    symlink("a", one.path().join("link")).unwrap();

    // Another order, mode bits that do not count, a hard link in place of a copy, a hole in place of zeros, other times.
    symlink("a", two.path().join("link")).unwrap();
    file(two.path(), "run", b"same", 0o700);
    for name in names.iter().rev().filter(|name| **name != "b") {
        file(two.path(), name, b"same", 0o600);
    }
    fs::hard_link(two.path().join("a"), two.path().join("b")).unwrap();
    File::create(two.path().join("holes")).unwrap().set_len(1 << 20).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    File::options().append(true).open(two.path().join("a")).unwrap().set_modified(old).unwrap();
    fs::set_permissions(two.path().join("a.d"), Permissions::from_mode(0o700)).unwrap();

    assert_eq!(digest(one.path()), digest(two.path()));
    file(two.path(), "run", b"same", 0o644);
    assert_ne!(digest(one.path()), digest(two.path()));
}

#[test]
fn an_artifact_is_read_back_as_it_was_and_the_stock_tar_reads_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    file(&tree, &long, b"long", 0o644);
    file(&tree, "bin/run", b"run", 0o755);
    symlink("../bin/run", tree.join("bin/link")).unwrap();
    let artifact = dir.path().join("a.tar.zst");
    let packed = write_artifact(&Plan::of_directory(&tree).unwrap(), EPOCH, &artifact).unwrap();
    assert_eq!(packed.tar.sha256, digest(&tree));
    let bytes = fs::read(&artifact).unwrap();
    assert_eq!(packed.file.sha256, Sha256::of(&bytes));
    assert_eq!(packed.file.length, bytes.len() as u64);

    let back = dir.path().join("back");
    fs::create_dir(&back).unwrap();
    unpack(open(&artifact).unwrap(), &back, Cap::default(), Strip::Nothing).unwrap();
    assert_eq!(digest(&back), digest(&tree));

    let tar = dir.path().join("a.tar");
    let plan = Plan::of_directory(&tree).unwrap();
    let mut file = File::create(&tar).unwrap();
    let blob = write_tar(&plan, EPOCH, &mut file).unwrap();
    assert_eq!((blob.length, blob.length), (fs::metadata(&tar).unwrap().len(), plan.tar_length()));
    let listed = Command::new("tar").arg("-tvf").arg(&tar).env("TZ", "UTC").output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success() && listed.stderr.is_empty());
    assert!(text.contains(&long) && text.contains("-rwxr-xr-x 0/0"), "{text}");
    assert!(text.lines().all(|line| line.contains("2026-01-01 00:00")), "{text}");
}

#[test]
fn what_has_no_canonical_form_is_refused_with_its_name() {
    let refused = |make: &dyn Fn(&Path), named: &str| {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path());
        let error = Plan::of_directory(dir.path()).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    };
    refused(&|dir| file(dir, "suid", b"", 0o4755), "set-uid");
    refused(&|dir| symlink("/etc/passwd", dir.join("out")).unwrap(), "leaves the tree");
    refused(&|dir| symlink("../../x", dir.join("out")).unwrap(), "leaves the tree");
    refused(
        &|dir| {
            file(dir, "Readme", b"", 0o644);
            file(dir, "README", b"", 0o644);
        },
        "case only",
    );
    // Precomposed and decomposed, of two letters and of one, of other scripts: some disks know one name of each two.
    for (one, two) in [
        ("\u{e9}t\u{e9}", "e\u{301}te\u{301}"),
        ("stra\u{df}e", "STRASSE"),
        ("\u{1e9e}", "ss"),
        ("file\u{17f}", "files"),
        ("\u{3a3}\u{3ac}\u{3c2}", "\u{3c3}\u{3ac}\u{3c3}"),
        ("\u{212a}", "k"),
        ("\u{416}", "\u{436}"),
        ("\u{c5}", "\u{212b}"),
    ] {
        let both = |dir: &Path| [one, two].iter().for_each(|name| file(dir, name, b"", 0o644));
        refused(&both, "how Unicode writes it");
    }
    let apart = tempfile::tempdir().unwrap();
    for name in ["e", "\u{e9}", "\u{eb}", "n", "\u{f1}", "\u{fb01}x"] {
        file(apart.path(), name, b"", 0o644);
    }
    assert_eq!(Plan::of_directory(apart.path()).unwrap().entries().len(), 6);
    refused(&|dir| file(dir, &format!("{}x", "d/".repeat(70)), b"", 0o644), "too deep");
    refused(
        &|dir| drop(std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap()),
        "socket",
    );
    refused(
        &|dir| {
            use std::os::unix::ffi::OsStrExt;
            let name = std::ffi::OsStr::from_bytes(b"\xff");
            fs::write(dir.join(name), "").unwrap();
        },
        "UTF-8",
    );
}

/// A tar made of raw members: name, type, link target, body.
pub(crate) fn hostile(members: &[(&str, tar::EntryType, &str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, target, body) in members {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, *body).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(archive: &[u8], cap: Cap) -> (tempfile::TempDir, Result<(), UnpackError>) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    let result = unpack(archive, &to, cap, Strip::Nothing);
    (dir, result)
}

#[test]
fn a_hostile_archive_is_refused_and_writes_nothing_outside() {
    use tar::EntryType as T;
    type Members<'a> = &'a [(&'a str, T, &'a str, &'a [u8])];
    let cases: &[(&str, Members<'_>)] = &[
        ("..", &[("../evil", T::Regular, "", b"x")]),
        ("..", &[("a/../../evil", T::Regular, "", b"x")]),
        ("absolute", &[("/evil", T::Regular, "", b"x")]),
        ("leaves the tree", &[("l", T::Symlink, "/etc", b"")]),
        ("leaves the tree", &[("a/l", T::Symlink, "../../evil", b"")]),
        ("below a link", &[("l", T::Symlink, "d", b""), ("l/evil", T::Regular, "", b"x")]),
        ("there twice", &[("f", T::Regular, "", b"x"), ("f", T::Regular, "", b"y")]),
        ("there twice", &[("f", T::Regular, "", b"x"), ("f", T::Symlink, "g", b"")]),
        ("no earlier file", &[("h", T::Link, "evil", b"")]),
        ("..", &[("h", T::Link, "../evil", b"")]),
        ("device", &[("dev", T::Char, "", b"")]),
        ("device", &[("dev", T::Block, "", b"")]),
        ("device", &[("pipe", T::Fifo, "", b"")]),
        ("control character", &[("a\nb", T::Regular, "", b"x")]),
        (
            "leaves the tree",
            &[
                ("a/b/x", T::Regular, "", b""),
                ("a/b/up", T::Symlink, "../..", b""),
                ("l", T::Symlink, "a/b/up/..", b""),
            ],
        ),
    ];
    for (named, members) in cases {
        let (dir, result) = unpacked(&hostile(members), Cap::default());
        let error = result.unwrap_err().to_string();
        assert!(error.contains(named), "{members:?}: {error}");
        let outside: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(outside.len(), 1, "{members:?}");
    }
}

#[test]
fn a_set_uid_member_and_a_lying_length_are_refused() {
    let mut archive = hostile(&[("f", tar::EntryType::Regular, "", b"x")]);
    archive[100..107].copy_from_slice(b"0004755");
    let mut header = tar::Header::from_byte_slice(&archive[..512]).clone();
    header.set_cksum();
    archive[..512].copy_from_slice(header.as_bytes());
    assert!(unpacked(&archive, Cap::default()).1.unwrap_err().to_string().contains("set-uid"));

    let whole = hostile(&[("f", tar::EntryType::Regular, "", &[7; 4096])]);
    assert!(unpacked(&whole[..1024], Cap::default()).1.is_err());
}

#[test]
fn a_bomb_is_stopped_at_its_cap() {
    let cap = Cap { bytes: 1 << 20, members: 100 };
    let zeros = vec![0; 2 << 20];
    let large = hostile(&[("f", tar::EntryType::Regular, "", &zeros)]);
    assert!(matches!(unpacked(&large, cap).1, Err(UnpackError::TooMuch(_))));

    let names: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    let many: Vec<_> =
        names.iter().map(|n| (n.as_str(), tar::EntryType::Regular, "", &b""[..])).collect();
    assert!(matches!(unpacked(&hostile(&many), cap).1, Err(UnpackError::TooMuch(_))));

    // A few kilobytes of gzip that are gigabytes of tar.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.tar.gz");
    let mut gzip =
        flate2::write::GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::best());
    let mut header = tar::Header::new_ustar();
    header.set_path("f").unwrap();
    header.set_size(8 << 20);
    header.set_mode(0o644);
    header.set_cksum();
    gzip.write_all(header.as_bytes()).unwrap();
    gzip.write_all(&vec![0; 8 << 20]).unwrap();
    gzip.finish().unwrap();
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    let result = unpack(open(&path).unwrap(), &to, cap, Strip::Nothing);
    assert!(matches!(result, Err(UnpackError::TooMuch(_))), "{result:?}");
}

/// Runs a stock program in a directory.
fn stock(dir: &Path, command: &str) {
    let status = Command::new("sh").args(["-euc", command]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{command}");
}

#[test]
fn every_stock_compression_and_zip_unpack_to_the_same_tree() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("thing-1.0");
    file(&top, "src/a.c", b"int a;", 0o644);
    file(&top, "configure", b"#!/bin/sh", 0o755);
    symlink("src/a.c", top.join("link")).unwrap();
    stock(
        dir.path(),
        "tar -cf a.tar thing-1.0; for c in gzip bzip2 xz zstd; do $c -k -c a.tar > a.$c; done
         xz -9 -k -c a.tar > a.nine; zip -q -r -y a.zip thing-1.0",
    );
    for name in ["a.tar", "a.gzip", "a.bzip2", "a.xz", "a.nine", "a.zstd", "a.zip"] {
        let to = tempfile::tempdir().unwrap();
        unpack_file(&dir.path().join(name), to.path(), Cap::default(), Strip::First).unwrap();
        assert_eq!(digest(to.path()), digest(&top), "{name}");
    }
    let cut = fs::read(dir.path().join("a.xz")).unwrap();
    fs::write(dir.path().join("cut.xz"), &cut[..cut.len() / 2]).unwrap();
    let to = tempfile::tempdir().unwrap();
    assert!(
        unpack_file(&dir.path().join("cut.xz"), to.path(), Cap::default(), Strip::First).is_err()
    );
}

#[test]
fn a_file_beside_the_one_directory_is_refused_and_not_left_out() {
    let archive = hostile(&[
        ("thing/a", tar::EntryType::Regular, "", b"x"),
        ("beside", tar::EntryType::Regular, "", b"x"),
    ]);
    let to = tempfile::tempdir().unwrap();
    let error = unpack(&archive[..], to.path(), Cap::default(), Strip::First).unwrap_err();
    assert!(error.to_string().contains("it lies at the top"), "{error}");
}

/// A zip of stored members: name, Unix mode, body.
fn zipped(members: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, mode, body) in members {
        // The writer itself refuses hostile names and kinds: they are put in place afterwards.
        let options = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .unix_permissions(*mode);
        writer.start_file(*name, options).unwrap();
        writer.write_all(body).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn unzipped(archive: &[u8], cap: Cap) -> (tempfile::TempDir, Result<(), UnpackError>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.zip");
    fs::write(&path, archive).unwrap();
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    let result = unpack_file(&path, &to, cap, Strip::Nothing);
    (dir, result)
}

/// The archive with each `from` replaced by as many bytes of `to`.
fn replaced(archive: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = archive.to_vec();
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    bytes
}

#[test]
fn a_hostile_zip_is_refused_and_writes_nothing_outside() {
    let one = zipped(&[("xx/evil", 0o644, b"x")]);
    let two = zipped(&[("name-a", 0o644, b"x"), ("name-b", 0o644, b"y")]);
    let mut links = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    links.add_symlink("out", "../../evil", options).unwrap();
    let link = links.finish().unwrap().into_inner();
    let mut cut = one.clone();
    cut.truncate(one.len() - 30);
    for (archive, named) in [
        (replaced(&one, "xx/evil", "../evil"), ".."),
        (replaced(&one, "xx/evil", "/x/evil"), "absolute"),
        (replaced(&two, "name-b", "name-a"), "there twice"),
        (link, "leaves the tree"),
        (cut, "without an end"),
    ] {
        let (dir, result) = unzipped(&archive, Cap::default());
        let error = result.unwrap_err().to_string();
        assert!(error.contains(named), "{named}: {error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "{named}");
    }
    let bomb = zipped(&[("f", 0o644, &vec![0; 8 << 20])]);
    assert!(bomb.len() < 1 << 20);
    let cap = Cap { bytes: 1 << 20, members: 2 };
    assert!(matches!(unzipped(&bomb, cap).1, Err(UnpackError::TooMuch(_))));
    let many = zipped(&[("a", 0o644, b""), ("b", 0o644, b""), ("c", 0o644, b"")]);
    assert!(matches!(unzipped(&many, cap).1, Err(UnpackError::TooMuch(_))));
}
