//! A node with snapshots, and the program run on it.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use countersign_metadata::{NodeSpec, Sha256};
use countersign_updater::Home;
use countersign_updater::generation::{Generation, Launch, switch_to};
use countersign_updater::state::copy::attributes;
use countersign_updater::state::snapshot;
use rustix::fs::{XattrFlags, setxattr};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_countersign-backup");
pub(crate) const PASSWORD: &str = "correct horse";
/// Written into every state, and nowhere to be found in a store.
pub(crate) const SECRET: &str = "THE-MARKER-THAT-NOBODY-ELSE-MAY-READ";

/// What a run of the program gave.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) json: Value,
}

impl Run {
    pub(crate) fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }
}

pub(crate) struct Node {
    pub(crate) dir: TempDir,
    pub(crate) home: Home,
}

impl Node {
    /// A node whose `[backup]` is these lines, at generation 1 of a product that was never published.
    pub(crate) fn new(backup: &str) -> Self {
        let this = Self::bare(&config("example", "file:///nowhere", backup));
        fs::create_dir(this.home.state(1)).unwrap();
        this.generation(1);
        this
    }

    /// A node without generations.
    pub(crate) fn bare(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::create(&dir.path().join("node")).unwrap();
        let password = dir.path().join("password");
        let config = config.replace("PASSWORD", password.to_str().unwrap());
        home.finish(&config).unwrap();
        let this = Self { dir, home };
        this.password(PASSWORD);
        this
    }

    pub(crate) fn password(&self, password: &str) {
        let path = self.dir.path().join("password");
        fs::write(&path, format!("{password}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }

    fn generation(&self, number: u64) {
        self.generation_of(number, json!({ "command": ["bin/n"] }));
    }

    /// A generation whose release calls these paths secret.
    pub(crate) fn secret(&self, number: u64, paths: &[&str]) {
        let area = json!({ "schema": 1, "secret": true, "paths": paths });
        self.generation_of(number, json!({ "command": ["bin/n"], "areas": { "keys": area } }));
    }

    fn generation_of(&self, number: u64, spec: Value) {
        let spec: NodeSpec = serde_json::from_value(spec).unwrap();
        let generation = Generation {
            number,
            product: "example".parse().unwrap(),
            version: format!("1.0.{number}").parse().unwrap(),
            binary: Sha256::of(&number.to_be_bytes()),
            state: 1,
            areas: BTreeMap::from([("values".parse().unwrap(), 1)]),
            held: Default::default(),
            protocol: None,
            launch: Launch::new(&spec, &BTreeMap::new()),
        };
        generation.write(&self.home).unwrap();
        switch_to(&self.home, number).unwrap();
    }

    /// Something in the state that is worth a backup.
    pub(crate) fn fill(&self) {
        let state = self.home.state(1);
        fs::create_dir(state.join("inner")).unwrap();
        fs::write(state.join("inner/file"), format!("{SECRET}\n").repeat(100)).unwrap();
        fs::write(state.join("gr\u{fc}n 100%"), "a name").unwrap();
        fs::write(state.join("empty"), "").unwrap();
        fs::write(state.join("private"), SECRET).unwrap();
        fs::set_permissions(state.join("private"), Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(state.join("inner"), Permissions::from_mode(0o2750)).unwrap();
        fs::File::create(state.join("sparse")).unwrap().set_len(5 << 20).unwrap();
        symlink("inner/file", state.join("link")).unwrap();
        fs::hard_link(state.join("inner/file"), state.join("also")).unwrap();
        fs::hard_link(state.join("private"), state.join("inner/private")).unwrap();
        let set = |name: &str, attribute: &str, value: &[u8]| {
            setxattr(state.join(name), attribute, value, XattrFlags::empty()).unwrap();
        };
        set("inner/file", "user.long", &[7; 2000]);
        set("inner", "user.name", b"value");
        set("private", "system.posix_acl_access", &access_list(0o6, 0o4));
        set("inner", "system.posix_acl_default", &access_list(0o7, 0o5));
        fs::set_permissions(state.join("also"), Permissions::from_mode(0o440)).unwrap();
    }

    /// Adds a file of random bytes.
    pub(crate) fn random(&self, name: &str, mebibytes: usize) {
        let bytes = fs::File::open("/dev/urandom").unwrap();
        let mut bytes = std::io::Read::take(bytes, (mebibytes << 20) as u64);
        let mut file = fs::File::create(self.home.state(1).join(name)).unwrap();
        std::io::copy(&mut bytes, &mut file).unwrap();
    }

    /// The state as generation `number` leaves it.
    pub(crate) fn snapshot(&self, number: u64) {
        if !self.home.generation(number).exists() {
            self.generation(number);
        }
        snapshot::complete(&self.home, number, 1, 0, None, None).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(words)
            .arg(self.home.path())
            .env("AWS_ACCESS_KEY_ID", "an-id")
            .env("AWS_SECRET_ACCESS_KEY", "a-hidden-key");
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Run {
        let output = self.command(words).arg("--json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        for hidden in ["a-hidden-key", "X-Amz-Signature", PASSWORD] {
            assert!(!text.contains(hidden) && !told.contains(hidden), "{text}{told}");
        }
        let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{told}"));
        Run { code: output.status.code().unwrap(), json }
    }

    /// Runs it and wants it to succeed.
    pub(crate) fn good(&self, words: &[&str]) -> Value {
        let run = self.run(words);
        assert_eq!(run.code, 0, "{words:?}: {}", run.json);
        run.json
    }

    pub(crate) fn start(&self, words: &[&str]) -> Child {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// How many snapshots wait, as the file says and as the program says.
    pub(crate) fn waiting(&self) -> usize {
        let said = self.good(&["status"])["length"].as_u64().unwrap();
        let bytes = fs::read(self.home.path().join("backup.json")).unwrap();
        let file: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(file["waiting"].as_array().unwrap().len() as u64, said);
        usize::try_from(said).unwrap()
    }
}

/// A configuration; `PASSWORD` stands for the password file.
pub(crate) fn config(product: &str, repository: &str, backup: &str) -> String {
    format!(
        "product = \"{product}\"\nrepositories = [\"{repository}\"]\nfree-space = \"1MiB\"\n\
         [backup]\npassword-file = \"PASSWORD\"\nretry = \"1s..2s\"\n{backup}\n"
    )
}

/// Every file below a directory with its bytes.
pub(crate) fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let (path, kind) = entry.map(|e| (e.path(), e.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_owned();
                let bytes = match kind.is_symlink() {
                    true => fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes(),
                    false => fs::read(&path).unwrap(),
                };
                found.insert(name, bytes);
            }
        }
    }
    found
}

/// `user::OWNER,user:12345:OTHER,group::---,mask::OTHER,other::---` as the kernel has it.
fn access_list(owner: u16, other: u16) -> Vec<u8> {
    let none = u32::MAX;
    let mut bytes = 2u32.to_le_bytes().to_vec();
    let entries =
        [(1, owner, none), (2, other, 12345), (4, 0, none), (16, other, none), (32, 0, none)];
    for (tag, rights, id) in entries {
        bytes.extend_from_slice(&u16::to_le_bytes(tag));
        bytes.extend_from_slice(&rights.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

/// What a tree has beside its bytes: modes, extended attributes, and the first of each file's names.
pub(crate) fn dress(dir: &Path) -> BTreeMap<PathBuf, (u32, attributes::Attributes, PathBuf)> {
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_symlink() {
            continue;
        }
        let name = path.strip_prefix(dir).unwrap().to_owned();
        let worn = attributes::held(&fs::File::open(&path).unwrap()).unwrap();
        let link = first.entry(meta.ino()).or_insert_with(|| name.clone()).clone();
        found.insert(name, (meta.mode() & 0o7777, worn, link));
        if meta.is_dir() {
            let mut below: Vec<_> =
                fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
            below.sort();
            open.extend(below);
        }
    }
    found
}

/// Fails if any of these bytes hold what only the node may know.
pub(crate) fn nothing_readable<'a>(objects: impl IntoIterator<Item = (String, &'a [u8])>) {
    let mut looked_at = 0;
    for (name, bytes) in objects {
        for known in [SECRET.as_bytes(), b"inner", b"manifest.json", b"1.0.1", b"hostname\":\""] {
            let there = bytes.windows(known.len()).any(|window| window == known);
            assert!(!there, "{} is readable in {name}", String::from_utf8_lossy(known));
        }
        looked_at += 1;
    }
    assert!(looked_at > 4, "a store has more than {looked_at} objects");
}

/// The stock tool, on a repository written by this one.
pub(crate) fn restic(repository: &str, password: &str, words: &[&str]) -> String {
    let output = Command::new("restic")
        .args(["--no-cache", "-r", repository])
        .args(words)
        .env("RESTIC_PASSWORD", password)
        .env("AWS_ACCESS_KEY_ID", "an-id")
        .env("AWS_SECRET_ACCESS_KEY", "a-hidden-key")
        .output()
        .unwrap_or_else(|error| panic!("this test needs restic; .ci/install installs it: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "restic {words:?}: {said}{told}");
    said
}
