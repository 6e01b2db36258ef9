//! Environments that are made of locked inputs: Debian packages from a repository of the test's own, and images.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_metadata::Sha256;
use serde_json::{Value, json};

use crate::packages::{Member, ar_of, tar_of};
use crate::project::{GOOD_C, Project, Ran, run_in};

const RECIPE: &str = "product = \"thing\"\nversion = \"1.0.0\"\n[source]\nkind = \"directory\"\n\
                      [build]\nsteps = [\"cc -o thing thing.c\"]\n[outputs]\n\"bin/thing\" = \"thing\"\n";

fn deb(control: &str, postinst: &str, members: &[Member<'_>]) -> Vec<u8> {
    use tar::EntryType::Regular;
    let control =
        tar_of(&[("./control", Regular, 0o644, control), ("./postinst", Regular, 0o755, postinst)]);
    let data = zstd::encode_all(&*tar_of(members), 1).unwrap();
    ar_of(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar.zst", &data)])
}

/// A repository as Debian's, with apt's configuration for it.
pub(crate) struct Repository {
    dir: tempfile::TempDir,
}

impl Repository {
    /// What makes apt know this repository alone.
    pub(crate) fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("apt.conf")
    }

    pub(crate) fn new() -> Self {
        use tar::EntryType::{Regular, Symlink};
        let dir = tempfile::tempdir().unwrap();
        let suite = dir.path().join("dists/test/main/binary-all");
        fs::create_dir_all(&suite).unwrap();
        let mut index = String::new();
        let mut add = |name: &str, fields: &str, postinst: &str, members: &[Member<'_>]| {
            let control = format!("Package: {name}\nVersion: 1:2+3\nArchitecture: all\n{fields}");
            let bytes = deb(&control, postinst, members);
            let path = format!("pool/main/{name}/{name}_2+3_all.deb");
            let file = dir.path().join(&path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, &bytes).unwrap();
            let (sha256, size) = (Sha256::of(&bytes), bytes.len());
            index += &format!("{control}Filename: {path}\nSize: {size}\nSHA256: {sha256}\n\n");
        };
        add("base", "Essential: yes\n", "", &[("./bin/su", Regular, 0o4755, "su")]);
        add("unasked", "", "", &[("./usr/bin/unasked", Regular, 0o755, "x")]);
        add(
            "tool",
            "Depends: library\n",
            "update-alternatives --install /usr/bin/cc cc /usr/bin/tool 20\ntouch /tmp/a-script-ran\n",
            &[("./usr/bin/tool", Regular, 0o755, "tool")],
        );
        add(
            "library",
            "",
            "",
            &[
                ("./lib/library.so.1", Regular, 0o644, "library"),
                ("./lib/library.so", Symlink, 0o777, "library.so.1"),
                ("./usr/share/doc/library/README", Regular, 0o644, "words"),
            ],
        );
        for name in ["gcc", "binutils", "make", "libc6-dev"] {
            add(name, "", "", &[]);
        }
        fs::write(suite.join("Packages"), &index).unwrap();
        let (sha256, size) = (Sha256::of(index.as_bytes()), index.len());
        let release = format!(
            "Origin: Debian\nLabel: Debian\nSuite: test\nCodename: test\nArchitectures: all amd64 arm64\n\
             Components: main\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {sha256} {size} main/binary-all/Packages\n"
        );
        fs::write(dir.path().join("dists/test/Release"), release).unwrap();
        let at = dir.path().display();
        let sources = format!("deb [trusted=yes arch=all] file:{at} test main\n");
        fs::write(dir.path().join("sources.list"), sources).unwrap();
        fs::create_dir(dir.path().join("none")).unwrap();
        let config = format!(
            "Dir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"{at}/none\";\n\
             Dir::Etc::parts \"{at}/none\";\n"
        );
        fs::write(dir.path().join("apt.conf"), config).unwrap();
        Self { dir }
    }

    /// Runs the builder with this repository as apt's only one, and a cache of its own.
    fn run(&self, dir: &Path, cache: &Path, arguments: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign-builder"));
        command.args(arguments).current_dir(dir).env("XDG_CACHE_HOME", cache);
        command.env("APT_CONFIG", self.dir.path().join("apt.conf"));
        let output = command.output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn project(environment: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write_recipe(dir.path(), environment);
    dir
}

fn write_recipe(dir: &Path, environment: &str) {
    let recipe = format!("{RECIPE}[environment]\n{environment}\n");
    fs::write(dir.join("countersign.toml"), recipe).unwrap();
}

fn lock_of(dir: &Path) -> String {
    fs::read_to_string(dir.join("countersign.lock")).unwrap()
}

fn tree_of(root: &Path) -> Vec<String> {
    let find =
        Command::new("find").arg(root).args(["!", "-type", "d", "-printf", "%P %l\n"]).output();
    let mut lines: Vec<String> = String::from_utf8(find.unwrap().stdout)
        .unwrap()
        .lines()
        .map(|l| l.trim().to_owned())
        .collect();
    lines.sort();
    lines
}

#[test]
fn packages_are_locked_with_what_they_depend_on_and_unpacked_without_running_anything() {
    if !Path::new("/usr/lib/apt/apt-helper").is_file() {
        return;
    }
    let repository = Repository::new();
    let dir = project("kind = \"debian\"\npackages = [\"tool\"]");
    let caches = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let cache = caches[0].path();
    let ran = repository.run(dir.path(), cache, &["lock", "."]).ended(0);
    ran.said("were dropped: bin/su");
    let lock = lock_of(dir.path());
    let base = "debian:base=1:2+3/pool/main/base/base_2+3_all.deb";
    for said in ["kind = \"debian\"", base, "\"library=1:2+3\"", "\"tool=1:2+3\""] {
        assert!(lock.contains(said), "{said}: {lock}");
    }
    assert!(
        !lock.contains("unasked") && !lock.contains(&repository.dir.path().display().to_string())
    );

    // Everything that the lock names is at hand: apt and its repository are asked for nothing any more.
    let stored = cache.join("countersign/inputs");
    let (stored, gone) = (stored.to_str().unwrap(), Repository::new());
    fs::remove_dir_all(gone.dir.path().join("pool")).unwrap();
    let export = |number: usize, name: &str| {
        let out = caches[number].path().join(name);
        let arguments =
            ["env", "export", ".", "-o", out.to_str().unwrap(), "--inputs", stored, "--json"];
        (gone.run(dir.path(), caches[number].path(), &arguments).ended(0).json(), out)
    };
    let ((first, out), (second, _)) = (export(0, "one"), export(1, "two"));
    assert_eq!(first["manifest"], second["manifest"]);
    assert_eq!(first["environment"], second["environment"]);
    assert!(lock.contains(first["environment"]["sha256"].as_str().unwrap()));
    let tree = tree_of(&out.join("root"));
    let wanted = [
        "bin usr/bin",
        "lib usr/lib",
        "usr/bin/cc /usr/bin/tool",
        "usr/bin/su",
        "usr/bin/tool",
        "usr/lib/library.so library.so.1",
        "usr/lib/library.so.1",
    ];
    assert_eq!(tree, wanted);
    assert!(!Path::new("/tmp/a-script-ran").exists());

    // A package that a mirror or a disk has changed is never unpacked.
    fs::write(Path::new(stored).join(digest_of(&lock, "tool")), "evil").unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let arguments = ["env", "export", ".", "-o", "/nonexistent/x", "--inputs", stored];
    gone.run(dir.path(), fresh.path(), &arguments).ended(6).said("debian:tool=1:2+3");
}

/// The digest of a package's input.
fn digest_of(lock: &str, name: &str) -> String {
    let (_, after) = lock.split_once(&format!("\"debian:{name}=")).unwrap();
    after.split("sha256 = \"").nth(1).unwrap()[..64].to_owned()
}

#[test]
fn a_lock_that_names_another_tree_than_its_packages_make_is_refused() {
    if !Path::new("/usr/lib/apt/apt-helper").is_file() {
        return;
    }
    let repository = Repository::new();
    let cache = tempfile::tempdir().unwrap();
    let locked = |package: &str| {
        let dir = project(&format!("kind = \"debian\"\npackages = [\"{package}\"]"));
        let json =
            repository.run(dir.path(), cache.path(), &["lock", ".", "--json"]).ended(0).json();
        (dir, json["environment"]["sha256"].as_str().unwrap().to_owned())
    };
    let ((one, tool), (_other, unasked)) = (locked("tool"), locked("unasked"));
    // The tree that it names is in the store, whole; but these packages do not make it.
    let lock = lock_of(one.path()).replace(&tool, &unasked);
    fs::write(one.path().join("countersign.lock"), lock).unwrap();
    let ran =
        repository.run(one.path(), cache.path(), &["env", "export", ".", "-o", "/nonexistent"]);
    ran.ended(3).said("the lock is stale: environment");
}

#[test]
fn a_package_that_nobody_knows_is_told_by_name() {
    if !Path::new("/usr/lib/apt/apt-helper").is_file() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let dir = project("kind = \"debian\"\npackages = [\"nonesuch\"]");
    let ran = Repository::new().run(dir.path(), cache.path(), &["lock", "."]).ended(3);
    ran.said("Unable to locate package nonesuch");
}

/// An image of two layers in all its shapes, below `dir`.
fn shapes(dir: &Path) -> Vec<PathBuf> {
    use tar::EntryType::{Regular, Symlink};
    let first = tar_of(&[
        ("usr/bin/old", Regular, 0o755, "old"),
        ("usr/bin/cc", Regular, 0o4755, "cc"),
        ("bin", Symlink, 0o777, "usr/bin"),
    ]);
    let second =
        tar_of(&[("usr/bin/.wh.old", Regular, 0o644, ""), ("bin/new", Regular, 0o755, "new")]);
    let flat = tar_of(&[
        ("bin", Symlink, 0o777, "usr/bin"),
        ("usr/bin/cc", Regular, 0o755, "cc"),
        ("usr/bin/new", Regular, 0o755, "new"),
    ]);
    let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let layout = dir.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |kind: &str, bytes: &[u8]| {
        let sha256 = Sha256::of(bytes);
        fs::write(blobs.join(sha256.to_string()), bytes).unwrap();
        json!({ "mediaType": kind, "digest": format!("sha256:{sha256}"), "size": bytes.len() })
    };
    let config = json!({ "architecture": architecture, "os": "linux" }).to_string();
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let manifest = json!({
        "schemaVersion": 2,
        "config": blob("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [
            blob(layer, &first),
            blob(&format!("{layer}+zstd"), &zstd::encode_all(&*second, 1).unwrap()),
        ],
    });
    let mut of_image =
        blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    let mut elsewhere = of_image.clone();
    of_image["platform"] = json!({ "architecture": architecture, "os": "linux" });
    elsewhere["platform"] = json!({ "architecture": "s390x", "os": "linux" });
    let index = json!({ "schemaVersion": 2, "manifests": [elsewhere, of_image] });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();

    let saved = dir.join("saved");
    fs::create_dir_all(saved.join("one")).unwrap();
    fs::write(saved.join("one/layer.tar"), &first).unwrap();
    fs::write(saved.join("two.tar"), &second).unwrap();
    fs::write(saved.join("config.json"), &config).unwrap();
    let list: Value = json!([{ "Config": "config.json", "RepoTags": ["x:1"], "Layers": ["one/layer.tar", "two.tar"] }]);
    fs::write(saved.join("manifest.json"), list.to_string()).unwrap();

    for name in ["layout", "saved"] {
        let tar = dir.join(format!("{name}.tar"));
        let made = Command::new("tar")
            .arg("-cf")
            .arg(&tar)
            .arg("-C")
            .arg(dir.join(name))
            .arg(".")
            .status();
        assert!(made.unwrap().success());
    }
    fs::write(dir.join("flat.tar.zst"), zstd::encode_all(&*flat, 1).unwrap()).unwrap();
    ["layout", "layout.tar", "saved.tar", "flat.tar.zst"].map(|name| dir.join(name)).into()
}

#[test]
fn an_image_is_the_same_environment_in_each_of_its_shapes() {
    let images = tempfile::tempdir().unwrap();
    let mut digests = Vec::new();
    for shape in shapes(images.path()) {
        let dir = project(&format!("kind = \"oci\"\nimage = \"{}\"", shape.display()));
        let json = run_in(dir.path(), &["lock", ".", "--json"]).ended(0).json();
        assert!(json["inputs"].to_string().contains("oci:layer-000"), "{json}");
        digests.push(json["environment"]["sha256"].clone());
    }
    assert_eq!(digests.len(), 4);
    assert!(digests.iter().all(|one| *one == digests[0]), "{digests:?}");
}

#[test]
fn an_image_that_lies_is_refused_by_name() {
    let images = tempfile::tempdir().unwrap();
    let all = shapes(images.path());
    let lock = |environment: &str| {
        let dir = project(environment);
        run_in(dir.path(), &["lock", "."])
    };
    let image = |path: &Path| format!("kind = \"oci\"\nimage = \"{}\"", path.display());
    let pinned = format!("{}\nsha256 = \"{}\"", image(&all[0]), Sha256::of(b"x"));
    lock(&pinned).ended(6).said("and not the recipe's");
    lock("kind = \"oci\"").ended(3).said("names its image");
    lock("kind = \"debian\"\nimage = \"x\"").ended(3).said("environment.image");

    let blobs = all[0].join("blobs/sha256");
    let layer = fs::read_dir(&blobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read(path).unwrap().starts_with(b"usr/bin/old"))
        .unwrap();
    fs::write(&layer, "other bytes").unwrap();
    lock(&image(&all[0])).ended(6).said("the layer sha256:");
    let manifest = "[{\"Config\":\"config.json\",\"Layers\":[\"../../etc/passwd\"]}]";
    fs::write(images.path().join("saved/manifest.json"), manifest).unwrap();
    let tar = images.path().join("bad.tar");
    let made = Command::new("tar")
        .arg("-cf")
        .arg(&tar)
        .arg("-C")
        .arg(images.path().join("saved"))
        .arg(".")
        .status();
    assert!(made.unwrap().success());
    lock(&image(&tar)).ended(6).said("..");
    let device = tar_of(&[("dev/sda", tar::EntryType::Block, 0o644, "")]);
    fs::write(&tar, device).unwrap();
    lock(&image(&tar)).ended(6).said("dev/sda");
}

#[test]
fn an_exported_environment_builds_as_an_image_what_it_built_before() {
    let project = Project::new(&["cc -o thing thing.c"], &[("thing.c", GOOD_C)]);
    let out = tempfile::tempdir().unwrap();
    let at = |name: &str| out.path().join(name).display().to_string();
    let before = project.build(&out.path().join("before")).ended(0).json();
    project.run(&["env", "export", ".", "-o", &at("env")]).ended(0);
    write_recipe(project.dir.path(), &format!("kind = \"oci\"\nimage = \"{}\"", at("env/oci")));
    let after = project.build(&out.path().join("after")).ended(0).json();
    assert_eq!(after["sha256"], before["sha256"]);
    assert_eq!(after["environment"]["sha256"], before["environment"]["sha256"]);
    assert_eq!(after["environment"]["kind"], "oci");
    // The image itself is no longer needed.
    fs::remove_dir_all(out.path().join("env")).unwrap();
    let rebuilt = project.run(&["rebuild", "--release", &at("after"), "-o", &at("again")]);
    rebuilt.ended(0).said("REPRODUCED");
}
