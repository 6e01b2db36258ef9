//! A directory as the store.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::node::{Node, PASSWORD, dress, files, nothing_readable, restic};

pub(crate) struct Disk {
    dir: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let this = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(this.path()).unwrap();
        this
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub(crate) fn lines(&self) -> String {
        format!("to = \"{}\"\n", self.path().display())
    }

    pub(crate) fn restic(&self, words: &[&str]) -> String {
        restic(self.path().to_str().unwrap(), PASSWORD, words)
    }

    fn unplug(&self) {
        fs::rename(self.path(), self.dir.path().join("unplugged")).unwrap();
    }

    fn plug_in(&self) {
        fs::rename(self.dir.path().join("unplugged"), self.path()).unwrap();
    }

    pub(crate) fn size(&self) -> usize {
        files(&self.path()).values().map(Vec::len).sum()
    }

    fn nothing_readable(&self) {
        let files = files(&self.path());
        let named = files.iter().map(|(path, bytes)| (path.display().to_string(), &bytes[..]));
        nothing_readable(named);
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn what_is_in_the_store_is_unreadable_and_stock_restic_restores_the_same_bytes() {
    let disk = Disk::new();
    let node = Node::new(&disk.lines());
    node.fill();
    node.random("noise", 3);
    node.snapshot(1);
    node.good(&["init"]);
    assert_eq!(node.good(&["now"])["brought"].as_array().unwrap().len(), 1);
    assert_eq!(node.waiting(), 0);
    disk.nothing_readable();
    disk.restic(&["check", "--read-data"]);
    node.good(&["check", "--read-data"]);

    let to = disk.dir.path().join("restored");
    disk.restic(&["restore", "latest", "--target", to.to_str().unwrap()]);
    let ours = node.home.snapshot(1).join("tree");
    assert_eq!(files(&to.join("tree")), files(&ours));
    assert_eq!(dress(&to.join("tree")), dress(&ours), "names, attributes and access lists too");
    assert!(dress(&ours)[Path::new("inner")].1.len() == 2, "there are some");
    for name in ["inner", "inner/file", "private", "empty"] {
        assert_eq!(mode(&to.join("tree").join(name)), mode(&ours.join(name)), "{name}");
    }
    assert_eq!(
        fs::read(to.join("generation.json")).unwrap(),
        fs::read(node.home.generation(1).join("generation.json")).unwrap()
    );
    assert!(disk.restic(&["snapshots"]).contains("version=1.0.1"));

    // The next snapshot costs what is new in it.
    let before = disk.size();
    fs::write(node.home.state(1).join("one"), "more").unwrap();
    node.snapshot(2);
    assert_eq!(node.good(&["status"])["length"], 1);
    node.good(&["now"]);
    let grown = disk.size() - before;
    assert!(grown < 200 << 10, "{grown} bytes for one small file");
    assert_eq!(node.good(&["list"])["copies"].as_array().unwrap().len(), 2);
    assert_eq!(node.good(&["now"])["brought"], json!([]));
    disk.restic(&["check"]);
}

#[test]
fn while_the_disk_is_unplugged_snapshots_wait_and_their_number_is_true() {
    let disk = Disk::new();
    let node = Node::new(&format!("{}queue = 2\n", disk.lines()));
    node.fill();
    node.good(&["init"]);
    disk.unplug();
    for number in 1..=2 {
        node.snapshot(number);
        let run = node.run(&["now"]);
        assert_eq!(run.code, 5, "{}", run.json);
        assert!(run.error().contains("there is no directory"), "{}", run.error());
        assert_eq!(node.waiting(), usize::try_from(number).unwrap());
    }
    let queue = &node.good(&["status"])["queue"];
    assert_eq!(queue["failures"], 2);
    assert!(queue["next"].is_string() && queue["error"].is_string());
    assert!(!disk.path().exists(), "nothing is written where a disk should be mounted");
    // A third one is one too many: the oldest leaves.
    node.snapshot(3);
    assert_eq!(node.run(&["now"]).code, 5);
    assert_eq!((node.waiting(), &node.good(&["status"])["queue"]["dropped"]), (2, &json!(1)));
    disk.plug_in();
    let brought = node.good(&["now"]);
    assert_eq!(brought["brought"][0]["snapshot"], 3, "the newest first");
    assert_eq!(node.waiting(), 0);
    assert!(node.good(&["status"])["queue"]["error"].is_null());

    // An empty disk in its place is not taken for the store.
    node.snapshot(4);
    disk.unplug();
    fs::create_dir(disk.path()).unwrap();
    let run = node.run(&["now"]);
    assert_eq!((run.code, node.waiting()), (1, 1), "{}", run.json);
    assert!(fs::read_dir(disk.path()).unwrap().next().is_none());
}

#[test]
fn a_second_writer_is_refused_until_it_takes_over_and_then_the_first_is() {
    let disk = Disk::new();
    let (first, second) = (Node::new(&disk.lines()), Node::new(&disk.lines()));
    for node in [&first, &second] {
        node.fill();
        node.snapshot(1);
    }
    first.good(&["init"]);
    first.good(&["now"]);
    let before = files(&disk.path());
    for verb in ["now", "init"] {
        let run = second.run(&[verb]);
        assert_ne!(run.code, 0);
        assert_eq!(files(&disk.path()), before, "{verb} wrote nothing: {}", run.json);
    }
    let run = second.run(&["now"]);
    assert_eq!(run.code, 1);
    assert!(run.error().contains("belongs to node"), "{}", run.error());
    assert_eq!(second.waiting(), 1);
    // Who cannot open it cannot take it.
    second.password("another");
    assert_eq!(second.run(&["takeover"]).code, 4);
    second.password(PASSWORD);
    second.good(&["takeover"]);
    second.good(&["now"]);
    first.snapshot(2);
    let run = first.run(&["now"]);
    assert_eq!((run.code, first.waiting()), (1, 1), "{}", run.json);
    assert_eq!(first.good(&["list"])["copies"].as_array().unwrap().len(), 2);
    disk.restic(&["check", "--read-data"]);
}

#[test]
fn a_wrong_password_or_one_that_others_may_read_opens_nothing() {
    let disk = Disk::new();
    let node = Node::new(&disk.lines());
    node.fill();
    node.snapshot(1);
    node.good(&["init"]);
    node.password("another");
    for verb in ["now", "list", "check", "restore"] {
        let run = node.run(&[verb]);
        let wanted = if verb == "restore" { [1, 4] } else { [4, 4] };
        assert!(wanted.contains(&run.code), "{verb}: {}", run.json);
    }
    assert!(node.run(&["now"]).error().contains("password does not open"));
    assert_eq!(node.waiting(), 1);
    node.password(PASSWORD);
    let password = node.dir.path().join("password");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    let run = node.run(&["now"]);
    assert_eq!(run.code, 4);
    assert!(run.error().contains("others may read"), "{}", run.error());
    node.password(PASSWORD);
    node.good(&["now"]);
}

#[test]
fn a_pack_that_was_corrupted_or_cut_is_named() {
    let disk = Disk::new();
    let node = Node::new(&disk.lines());
    node.fill();
    node.random("noise", 2);
    node.snapshot(1);
    node.good(&["init"]);
    node.good(&["now"]);
    let packs = files(&disk.path().join("data"));
    let (path, bytes) = packs.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let id = path.file_name().unwrap().to_str().unwrap();
    let full = disk.path().join("data").join(path);

    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    fs::write(&full, &flipped).unwrap();
    let run = node.run(&["check", "--read-data"]);
    assert_eq!(run.code, 1, "{}", run.json);
    assert!(run.json["errors"].to_string().contains(&id[..8]), "{}", run.json);

    fs::write(&full, &bytes[..bytes.len() / 2]).unwrap();
    let run = node.run(&["check"]);
    assert_eq!(run.code, 1, "{}", run.json);
    assert!(run.json["errors"].to_string().contains(&id[..8]), "{}", run.json);

    fs::write(&full, bytes).unwrap();
    node.good(&["check", "--read-data"]);
}

#[test]
fn a_snapshot_that_was_damaged_on_this_disk_is_not_copied_and_the_others_are() {
    let disk = Disk::new();
    let node = Node::new(&disk.lines());
    node.fill();
    node.snapshot(1);
    node.snapshot(2);
    node.good(&["init"]);
    let file = node.home.snapshot(2).join("tree/inner/file");
    let mut bytes = fs::read(&file).unwrap();
    bytes[7] ^= 1;
    fs::write(&file, bytes).unwrap();
    let run = node.run(&["now"]);
    assert_eq!(run.code, 7, "{}", run.json);
    assert!(run.error().contains("also is not what its manifest says"), "{}", run.error());
    let copies = &node.good(&["list"])["copies"];
    assert_eq!(copies.as_array().unwrap().len(), 1, "{copies}");
    assert_eq!((&copies[0]["snapshot"], node.waiting()), (&json!(1), 1));
}

#[test]
fn only_so_many_copies_are_kept_and_what_was_lost_is_brought_again() {
    let disk = Disk::new();
    let node = Node::new(&format!("{}keep-last = 2\n", disk.lines()));
    node.fill();
    node.good(&["init"]);
    for number in 1..=4 {
        fs::write(node.home.state(1).join("count"), number.to_string()).unwrap();
        node.snapshot(number);
        node.good(&["now"]);
    }
    let copies = node.good(&["list"])["copies"].clone();
    let numbers: Vec<_> = copies.as_array().unwrap().iter().map(|c| &c["snapshot"]).collect();
    assert_eq!(numbers, [&json!(3), &json!(4)]);
    assert_eq!(node.good(&["now"])["brought"], json!([]), "what was forgotten stays so");
    // The store's keeper removes a copy.
    let newest = copies[1]["id"].as_str().unwrap();
    fs::remove_file(disk.path().join("snapshots").join(newest)).unwrap();
    let again = node.good(&["now"]);
    assert_eq!((&again["lost"], &again["brought"][0]["snapshot"]), (&json!(1), &json!(4)));
    disk.restic(&["check", "--read-data"]);
    node.good(&["check", "--read-data"]);
}

#[test]
fn a_store_that_stock_restic_has_locked_is_waited_for() {
    let disk = Disk::new();
    let node = Node::new(&disk.lines());
    node.fill();
    node.snapshot(1);
    node.good(&["init"]);
    fs::create_dir_all(disk.path().join("locks")).unwrap();
    let lock = disk.path().join("locks").join("0".repeat(64));
    fs::write(&lock, "x").unwrap();
    let run = node.run(&["now"]);
    assert_eq!((run.code, node.waiting()), (8, 1), "{}", run.json);
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(hour_ago).unwrap();
    node.good(&["now"]);
}

#[test]
fn a_snapshot_with_other_attributes_or_names_than_its_manifest_says_is_not_sent() {
    let disk = Disk::new();
    let node = Node::new(&disk.lines());
    node.fill();
    node.snapshot(1);
    node.good(&["init"]);
    let tree = node.home.snapshot(1).join("tree");
    let refused = |what: &str| {
        let run = node.run(&["now"]);
        assert_eq!(run.code, 7, "{}", run.json);
        assert!(run.error().contains(what), "{}", run.error());
        assert!(node.good(&["list"])["copies"].as_array().unwrap().is_empty());
    };
    rustix::fs::removexattr(tree.join("inner"), "user.name").unwrap();
    refused("inner has other extended attributes");
    let value = b"value";
    rustix::fs::setxattr(tree.join("inner"), "user.name", value, rustix::fs::XattrFlags::empty())
        .unwrap();
    fs::rename(tree.join("inner/file"), tree.join("away")).unwrap();
    fs::copy(tree.join("away"), tree.join("inner/file")).unwrap();
    refused("inner/file is no name of also");
    fs::rename(tree.join("away"), tree.join("inner/file")).unwrap();
    node.good(&["now"]);
}

#[test]
fn what_is_secret_stays_here_if_that_is_wanted_under_no_other_name_either() {
    let disk = Disk::new();
    let node = Node::new(&format!("{}secrets = false\n", disk.lines()));
    node.fill();
    node.secret(2, &["private", "inner/pri*"]);
    node.snapshot(2);
    node.good(&["init"]);
    node.good(&["now"]);
    assert_eq!(node.good(&["list"])["copies"][0]["without_secrets"], true);
    let to = disk.dir.path().join("restored");
    disk.restic(&["restore", "latest", "--target", to.to_str().unwrap()]);
    let mut wanted = files(&node.home.snapshot(2).join("tree"));
    for secret in ["private", "inner/private"] {
        wanted.remove(Path::new(secret)).unwrap();
    }
    assert_eq!(files(&to.join("tree")), wanted);
    assert!(!fs::read_to_string(to.join("manifest.json")).unwrap().contains("private"));

    node.secret(3, &["also"]);
    node.snapshot(3);
    let run = node.run(&["now"]);
    assert_eq!(run.code, 7, "{}", run.json);
    assert!(run.error().contains("inner/file is another name of a secret file"), "{}", run.error());
    assert_eq!(node.waiting(), 1);
}
