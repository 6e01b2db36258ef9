//! Every harm in every kind of archive: refused by name, stopped at its cap, nothing written outside.

use std::fs;
use std::io::Write;
use std::path::Path;

use countersign_builder::pack::{Cap, Strip, UnpackError, unpack_file};
use countersign_metadata::Sha256;
use serde_json::json;
use tar::EntryType as T;

use crate::archives::hostile;
use crate::project::{own_home, ran};
use crate::serve::Server;
use crate::sources::recipe;

type Compress = fn(&[u8]) -> Vec<u8>;

/// Each way in which a tar comes.
const KINDS: [(&str, Compress); 5] = [
    ("tar", <[u8]>::to_vec),
    ("gz", |bytes| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    }),
    ("bz2", |bytes| {
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(bytes).unwrap();
        bzip2.finish().unwrap()
    }),
    ("xz", |bytes| {
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
        xz.write_all(bytes).unwrap();
        xz.finish().unwrap()
    }),
    ("zst", |bytes| zstd::encode_all(bytes, 3).unwrap()),
];

type Members<'a> = &'a [(&'a str, T, &'a str, &'a [u8])];

/// What no archive may hold, by the words that refuse it.
const HARMS: [(&str, Members<'_>); 15] = [
    (". or ..", &[("t/../../evil", T::Regular, "", b"x")]),
    (". or ..", &[("t/./evil", T::Regular, "", b"x")]),
    ("absolute", &[("/evil", T::Regular, "", b"x")]),
    ("empty segment", &[("t//evil", T::Regular, "", b"x")]),
    ("backslash", &[("t\\..\\evil", T::Regular, "", b"x")]),
    ("leaves the tree", &[("t/l", T::Symlink, "/etc/passwd", b"")]),
    ("leaves the tree", &[("t/l", T::Symlink, "../../evil", b"")]),
    ("leaves the tree", &[("t/l", T::Symlink, "a/../../..", b"")]),
    ("below a link", &[("t/l", T::Symlink, "d", b""), ("t/l/evil", T::Regular, "", b"x")]),
    ("no earlier file", &[("t/h", T::Link, "t/none", b"")]),
    (". or ..", &[("t/h", T::Link, "t/../../evil", b"")]),
    ("device", &[("t/null", T::Char, "", b"")]),
    ("device", &[("t/disk", T::Block, "", b"")]),
    ("pipe", &[("t/pipe", T::Fifo, "", b"")]),
    ("there twice", &[("t/f", T::Regular, "", b"x"), ("t/f", T::Regular, "", b"y")]),
];

/// What becomes of an archive, beside which nothing else may appear.
fn unpacked(archive: &[u8], cap: Cap) -> Result<(), UnpackError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    fs::write(&path, archive).unwrap();
    let to = dir.path().join("to");
    fs::create_dir(&to).unwrap();
    let result = unpack_file(&path, &to, cap, Strip::Nothing);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    result
}

#[test]
fn each_harm_is_refused_by_name_in_each_kind_of_archive() {
    for (kind, compress) in KINDS {
        for (named, members) in HARMS {
            let error = unpacked(&compress(&hostile(members)), Cap::default()).unwrap_err();
            assert!(error.to_string().contains(named), "{kind} {members:?}: {error}");
        }
        let deep = format!("{}x", "d/".repeat(48));
        assert!(
            unpacked(&compress(&hostile(&[(&deep, T::Regular, "", b"")])), Cap::default()).is_ok()
        );
        // A pax record gives a longer path than a header can: 70 directories.
        let long = format!("{}x", "d/".repeat(70));
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("path", long.as_bytes())]).unwrap();
        let mut tar = builder.into_inner().unwrap();
        tar.truncate(1024);
        tar.extend(hostile(&[("short", T::Regular, "", b"")]));
        let error = unpacked(&compress(&tar), Cap::default()).unwrap_err().to_string();
        assert!(error.contains("too deep"), "{kind}: {error}");
    }
}

#[test]
fn a_bomb_of_each_kind_is_stopped_at_its_cap() {
    let cap = Cap { bytes: 1 << 20, members: 100 };
    let zeros = vec![0; 32 << 20];
    let large = hostile(&[("f", T::Regular, "", &zeros)]);
    let names: Vec<String> = (0..200).map(|n| format!("d{n}")).collect();
    let many: Vec<_> = names.iter().map(|n| (n.as_str(), T::Directory, "", &b""[..])).collect();
    for (kind, compress) in KINDS {
        let bomb = compress(&large);
        assert!(kind == "tar" || bomb.len() < 1 << 18, "{kind}: {}", bomb.len());
        for archive in [bomb, compress(&hostile(&many))] {
            let result = unpacked(&archive, cap);
            assert!(matches!(result, Err(UnpackError::TooMuch(_))), "{kind}: {result:?}");
        }
        // Archives in archives are files: the inner bomb is not opened.
        let inner = compress(&large);
        let outer =
            compress(&hostile(&[("t/bomb", T::Regular, "", &inner[..inner.len().min(9999)])]));
        assert!(unpacked(&outer, cap).is_ok(), "{kind}");
    }
}

#[test]
fn half_an_archive_of_any_kind_is_no_archive() {
    let body: Vec<u8> =
        (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let whole = hostile(&[("t/f", T::Regular, "", &body)]);
    for (kind, compress) in KINDS {
        let good = compress(&whole);
        unpacked(&good, Cap::default()).unwrap();
        let error = unpacked(&good[..good.len() / 2], Cap::default()).unwrap_err();
        assert!(!error.to_string().is_empty(), "{kind}");
    }
}

/// Locks with scratch and inputs of its own, both of which must be tidy afterwards.
fn lock_fails(text: &str, clients: &[(String, String)]) -> String {
    let (dir, home) = (tempfile::tempdir().unwrap(), own_home());
    fs::write(dir.path().join("countersign.toml"), text).unwrap();
    let at = |name: &str| home.path().join(name);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_countersign-builder"));
    command.args(["lock", "."]).current_dir(dir.path()).envs(clients.iter().cloned());
    command.env("XDG_CACHE_HOME", at("cache")).env("TMPDIR", at("tmp"));
    let ran = ran(&mut command);
    assert!(matches!(ran.code, 3 | 5 | 6), "{}: {}", ran.code, ran.err);
    assert!(!dir.path().join("countersign.lock").exists());
    tidy(&at("tmp"), &at("cache/countersign/inputs"));
    ran.err
}

fn tidy(tmp: &Path, inputs: &Path) {
    assert_eq!(
        fs::read_dir(tmp).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>(),
        [""; 0].map(Path::new)
    );
    for entry in fs::read_dir(inputs).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(Sha256::of(&fs::read(&path).unwrap()).to_string(), name);
    }
}

#[test]
fn a_hostile_source_from_each_registry_is_refused_by_name_and_leaves_nothing() {
    let server = Server::new();
    let (of, clients) = (
        |source: &str| recipe(source, "tools = [\"c\"]", "steps = [\"true\"]", ""),
        server.clients(),
    );
    let evil = |top: &str| {
        let member = format!("{top}/../../evil");
        (KINDS[1].1)(&hostile(&[(&member, T::Regular, "", b"x")]))
    };
    let gone = |path: &str| assert!(!Path::new(path).exists());

    let archive = evil("thing");
    let (url, sha256) = (server.put("/thing.tar.gz", archive.clone()), Sha256::of(&archive));
    let said = lock_fails(
        &of(&format!("kind = \"archive\"\nurl = \"{url}\"\nsha256 = \"{sha256}\"")),
        &clients,
    );
    assert!(said.contains("thing.tar.gz") && said.contains(". or .."), "{said}");

    let twins = (KINDS[1].1)(&hostile(&[
        ("t/caf\u{e9}", T::Regular, "", b"x"),
        ("t/cafe\u{301}", T::Regular, "", b"y"),
    ]));
    let (url, sha256) = (server.put("/twins.tar.gz", twins.clone()), Sha256::of(&twins));
    let said = lock_fails(
        &of(&format!("kind = \"archive\"\nurl = \"{url}\"\nsha256 = \"{sha256}\"")),
        &clients,
    );
    assert!(said.contains("how Unicode writes it"), "{said}");

    server.npm_archive("evil-npm", "1.0.0", evil("package"));
    let said = lock_fails(&of("kind = \"package\"\npackage = \"npm:evil-npm@1.0.0\""), &clients);
    assert!(said.contains("npm:evil-npm@1.0.0"), "{said}");

    server.pypi("evil-py", "evil_py-1.0.tar.gz", evil("evil_py-1.0"));
    let said = lock_fails(&of("kind = \"package\"\npackage = \"pypi:evil-py==1.0\""), &clients);
    assert!(said.contains("pypi:evil-py==1.0") && said.contains(". or .."), "{said}");

    server.krate("evil-crate", "1.0.0", &[]);
    let archive = evil("evil-crate-1.0.0");
    let line = json!({ "name": "evil-crate", "vers": "1.0.0", "deps": [], "features": {}, "yanked": false,
                       "cksum": Sha256::of(&archive) });
    server.put("/index/ev/il/evil-crate", format!("{line}\n"));
    server.put("/dl/evil-crate/1.0.0/download", archive);
    let said =
        lock_fails(&of("kind = \"package\"\npackage = \"crates:evil-crate@1.0.0\""), &clients);
    assert!(said.contains("crates:evil-crate@1.0.0"), "{said}");
    gone("/evil");
    gone("/tmp/evil");
}
