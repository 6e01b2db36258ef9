//! A directory that the payload changes and that stays as it is.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use countersign_sandbox::{Deed, Error, Exit, Limits, Mount, Sandbox, written};
use tempfile::TempDir;

use crate::world::{PATIENCE, Test, is_root, printed, run, until, with_libraries};

pub(crate) const ALL: &[Test] = &[
    ("below_an_overlay_nothing_changes_whatever_the_payload_does", untouched),
    ("what_was_written_above_is_listed", listed),
    ("two_payloads_above_one_directory_do_not_see_each_other", two),
    ("a_later_payload_goes_on_above_the_same_upper_directory", goes_on),
    ("the_lower_directory_belongs_to_the_payload_whoever_owns_it", owner),
    ("links_in_a_lower_directory_lead_to_nothing_outside", links),
    ("a_door_in_a_lower_directory_is_refused", doors),
    ("a_door_opened_in_a_lower_directory_meanwhile_is_told", opened),
    ("an_upper_directory_is_bounded_like_a_scratch_directory", bounded),
    ("a_work_directory_that_is_not_empty_is_refused", work),
    ("where_no_overlay_can_be_had_it_is_refused_by_name", none),
];

/// A lower directory, and a place for what is written above it.
struct Layers {
    dir: TempDir,
}

impl Layers {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lower", "upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn lower(&self, name: &str) -> PathBuf {
        self.path("lower").join(name)
    }

    fn mount(&self) -> Mount {
        self.mount_with("upper")
    }

    fn mount_with(&self, upper: &str) -> Mount {
        Mount::Overlay {
            lower: self.path("lower"),
            upper: self.path(upper),
            work: self.path("work"),
            to: "/state".into(),
        }
    }

    /// Deeds as text, in order.
    fn written(&self) -> Vec<String> {
        let written = written(&self.path("lower"), &self.path("upper"), 1000).unwrap();
        assert_eq!((written.unread, written.names), (0, written.list.len() as u64));
        let line = |change: &countersign_sandbox::Change| {
            let slash = if change.directory { "/" } else { "" };
            format!("{:?} {}{slash} {}", change.deed, change.path.display(), change.bytes)
        };
        written.list.iter().map(line).collect()
    }
}

/// A shell in `/state`.
fn shell(script: &str) -> Sandbox {
    let words = ["/bin/sh", "-c", script].map(OsString::from);
    with_libraries(Sandbox::new(words.into()))
        .environment("PATH", "/usr/bin:/bin")
        .work_dir("/state")
}

/// Everything that can be seen of a tree from outside; first what is there, for reading it changes it.
type Facts = BTreeMap<PathBuf, (Vec<i64>, Vec<u8>)>;

fn facts(top: &Path) -> Facts {
    let mut facts = Facts::new();
    let mut pending = vec![top.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let times = [meta.atime(), meta.atime_nsec(), meta.mtime(), meta.mtime_nsec()];
        let changed = [meta.ctime(), meta.ctime_nsec()];
        let kind = [i64::from(meta.mode()), meta.size().try_into().unwrap()];
        let whose = [meta.uid(), meta.gid()].map(i64::from);
        let which = [meta.ino().try_into().unwrap(), meta.nlink().try_into().unwrap()];
        let all = [&times[..], &changed, &kind, &whose, &which].concat();
        if meta.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        facts.insert(path, (all, Vec::new()));
    }
    for (path, (_, content)) in &mut facts {
        let meta = fs::symlink_metadata(path).unwrap();
        if meta.is_file() {
            *content = fs::read(path).unwrap();
        } else if meta.is_symlink() {
            *content = fs::read_link(path).unwrap().into_os_string().into_vec();
        }
    }
    facts
}

/// Twice, because the first look is a first reading, which the file system may note.
fn settled(top: &Path) -> Facts {
    facts(top);
    facts(top)
}

fn untouched() {
    let layers = Layers::new();
    fs::create_dir_all(layers.lower("dir/deep")).unwrap();
    for name in ["a", "b", "c", "d", "e", "dir/f", "dir/deep/g"] {
        fs::write(layers.lower(name), name.repeat(5000)).unwrap();
    }
    fs::hard_link(layers.lower("a"), layers.lower("a-too")).unwrap();
    symlink("b", layers.lower("link")).unwrap();
    fs::set_permissions(layers.lower("e"), Permissions::from_mode(0o600)).unwrap();
    let before = settled(&layers.path("lower"));
    let script = r#"
        set -e
        cat a b c d e dir/f dir/deep/g > /dev/null
        echo more >> a; : > b; chmod 777 c; touch -d 2001-01-01 d; mv e elsewhere
        echo through > link; ln a another; rm -r dir; mkdir dir; echo new > dir/f
        mkfifo fifo; dd if=/dev/zero of=c bs=1 count=1 conv=notrunc 2> /dev/null
        perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, sockaddr_un("s")) or die'
        chmod 000 elsewhere; chmod 711 .; setfattr -n user.x -v y d 2> /dev/null || true
        wc -c < a; cat dir/f; ls
    "#;
    let output = printed(shell(script).mount(layers.mount()));
    assert_eq!(
        output.split_whitespace().collect::<Vec<_>>().join(" "),
        "5005 new a a-too another b c d dir elsewhere fifo link s"
    );
    assert_eq!(facts(&layers.path("lower")), before);
    assert_eq!(fs::read_dir(layers.path("work")).unwrap().count(), 0);
    let own = nix::unistd::geteuid().as_raw();
    for entry in fs::read_dir(layers.path("upper")).unwrap() {
        assert_eq!(fs::symlink_metadata(entry.unwrap().path()).unwrap().uid(), own);
    }
}

fn listed() {
    let layers = Layers::new();
    fs::create_dir_all(layers.lower("dir/deep")).unwrap();
    fs::create_dir(layers.lower("gone")).unwrap();
    for name in ["changed", "opened", "removed", "dir/kept", "gone/x", "mode"] {
        fs::write(layers.lower(name), name).unwrap();
    }
    let script = r#"
        set -e
        echo 12345 > changed; : >> opened; rm removed; rm -r gone; chmod 640 mode
        mkdir -p new/deep; echo 1 > new/deep/file; echo x > brief; rm brief
        echo > dir/deep/inner; printf x > "$(printf 'bad\377')"; cat dir/kept > /dev/null
    "#;
    printed(shell(script).mount(layers.mount()));
    assert_eq!(
        layers.written(),
        [
            "Created bad\u{fffd} 1",
            "Changed changed 6",
            "Created dir/deep/inner 1",
            "Deleted gone/ 0",
            "Changed mode 4",
            "Created new/ 0",
            "Created new/deep/ 0",
            "Created new/deep/file 2",
            "Opened opened 6",
            "Deleted removed 0",
        ]
    );
    let first = written(&layers.path("lower"), &layers.path("upper"), 2).unwrap();
    assert_eq!((first.names, first.bytes, first.list.len()), (10, 14, 2));
    assert_eq!(first.list[1].deed, Deed::Changed);
}

fn two() {
    let layers = Layers::new();
    for name in ["other", "other-work"] {
        fs::create_dir(layers.path(name)).unwrap();
    }
    fs::write(layers.lower("value"), "0").unwrap();
    let other = Mount::Overlay {
        lower: layers.path("lower"),
        upper: layers.path("other"),
        work: layers.path("other-work"),
        to: "/state".into(),
    };
    let wait = "while [ ! -e seen ]; do sleep 0.01; done";
    let first = shell(&format!("echo 1 > value; echo > wrote; {wait}")).mount(layers.mount());
    let mut first = first.spawn().unwrap();
    until("the first has written", || layers.path("upper/wrote").exists());
    assert_eq!(printed(shell("cat value; ls").mount(other)), "0value\n");
    assert!(first.has_exited().is_none());
    drop(first);
    assert_eq!(fs::read_to_string(layers.lower("value")).unwrap(), "0");
    assert_eq!(fs::read_to_string(layers.path("upper/value")).unwrap(), "1\n");
}

fn goes_on() {
    let layers = Layers::new();
    fs::write(layers.lower("old"), "old").unwrap();
    fs::create_dir(layers.lower("dir")).unwrap();
    printed(shell("rm old; echo 1 > schema; rmdir dir; mkdir dir").mount(layers.mount()));
    let after = printed(shell("ls; cat schema; echo 2 > schema").mount(layers.mount()));
    assert_eq!(after, "dir\nschema\n1\n");
    assert_eq!(printed(shell("cat schema").mount(layers.mount())), "2\n");
    // Nothing of it is seen above another upper directory.
    fs::create_dir(layers.path("other")).unwrap();
    assert_eq!(printed(shell("ls").mount(layers.mount_with("other"))), "dir\nold\n");
}

fn owner() {
    if !is_root() {
        // Of a plain user: whatever another one owns could be read there, and never be changed.
        let layers = Layers::new();
        let (upper, work) = (layers.path("upper"), layers.path("work"));
        let mount = Mount::Overlay { lower: "/usr/bin".into(), upper, work, to: "/state".into() };
        let refused = shell("true").mount(mount).run();
        let Err(Error::Missing { capability, reason }) = refused else { panic!("{refused:?}") };
        assert_eq!(capability, "overlay");
        assert!(reason.contains("not all in /usr/bin belongs to this user"), "{reason}");
        return;
    }
    let layers = Layers::new();
    fs::create_dir(layers.lower("dir")).unwrap();
    for name in ["", "mine", "dir"] {
        fs::write(layers.lower("mine"), "x").unwrap();
        chown(layers.lower(name), Some(4321), Some(5432)).unwrap();
    }
    fs::write(layers.lower("dir/roots"), "secret").unwrap();
    for name in ["mine", "dir/roots"] {
        fs::set_permissions(layers.lower(name), Permissions::from_mode(0o600)).unwrap();
    }
    let before = settled(&layers.path("lower"));
    let script = "id -u; stat -c %u . mine dir/roots; cat mine; echo y > mine; cat dir/roots";
    let (ended, output) = run(shell(script).mount(layers.mount()));
    assert_eq!(ended.exit, Exit::Code(1), "{output}");
    assert!(output.starts_with("1000\n1000\n1000\n65534\nx"), "{output}");
    assert!(output.contains("Permission denied") && !output.contains("secret"), "{output}");
    assert_eq!(facts(&layers.path("lower")), before);
    assert_eq!(fs::metadata(layers.path("upper/mine")).unwrap().uid(), 0);
}

fn links() {
    let layers = Layers::new();
    let live = layers.path("live");
    fs::create_dir(&live).unwrap();
    fs::write(live.join("value"), "live").unwrap();
    let _listens = UnixListener::bind(live.join("socket")).unwrap();
    symlink(&live, layers.lower("there")).unwrap();
    symlink("../live/value", layers.lower("up")).unwrap();
    fs::hard_link(live.join("value"), layers.lower("same")).unwrap();
    let (live_before, before) = (settled(&live), settled(&layers.path("lower")));
    let script = format!(
        r#"
        echo bad > there/value; echo bad > up; cat up there/value; echo bad > same; chmod 777 same
        echo bad > {live}/value; ls /proc/self/fd/ | wc -l; cat /proc/1/root{live}/value
        perl -e 'use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0);
            print connect(S, sockaddr_un($_)) ? "reached\n" : "no\n" for @ARGV' there/socket {live}/socket
        grep -c '{live}' /proc/self/mountinfo; cat same
        "#,
        live = live.display()
    );
    let (_, output) = run(shell(&script).mount(layers.mount()));
    assert!(!output.contains("live\n") && !output.contains("reached"), "{output}");
    assert_eq!(output.matches("no\n").count(), 2, "{output}");
    assert!(output.ends_with("0\nbad\n"), "{output}");
    assert_eq!(facts(&live), live_before);
    assert_eq!(facts(&layers.path("lower")), before);
}

fn doors() {
    let layers = Layers::new();
    let place = layers.lower("door");
    let socket = UnixListener::bind(&place).unwrap();
    let refused = |what: &str| {
        let refused = shell("exit").mount(layers.mount()).run();
        let Err(Error::Mount { path, source }) = refused else { panic!("{refused:?}") };
        assert_eq!(path, layers.path("lower"));
        assert_eq!(source.to_string(), format!("door in it is a {what}: a way out of the sandbox"));
        fs::remove_file(&place).unwrap();
    };
    refused("socket");
    drop(socket);
    nix::unistd::mkfifo(&place, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused("FIFO");
    if is_root() {
        let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::S_IRWXU);
        nix::sys::stat::mknod(&place, kind, mode, nix::sys::stat::makedev(1, 3)).unwrap();
        refused("device");
    }
    printed(shell("true").mount(layers.mount()));
}

fn opened() {
    let layers = Layers::new();
    let mut running = shell("exec sleep 1000").mount(layers.mount()).spawn().unwrap();
    let _door = UnixListener::bind(layers.lower("door")).unwrap();
    running.terminate(PATIENCE).unwrap();
    let told = running.wait();
    assert!(
        matches!(&told, Err(Error::Mount { path, .. }) if *path == layers.path("lower")),
        "{told:?}"
    );
}

fn bounded() {
    let layers = Layers::new();
    fs::write(layers.lower("big"), vec![1; 1 << 20]).unwrap();
    let limits = Limits { file_bytes: 2 << 20, ..Limits::default() };
    let script = "head -c 3M /dev/zero > new; head -c 3M /dev/zero >> big; wc -c new big";
    let (_, output) = run(shell(script).mount(layers.mount()).limits(limits));
    assert_eq!(output.matches("2097152").count(), 2, "{output}");
    let full = shell("sleep 1000").mount(layers.mount_with("upper")).keep_free(u64::MAX).run();
    assert!(
        matches!(&full, Err(Error::Full { path, .. }) if *path == layers.path("upper")),
        "{full:?}"
    );
}

fn work() {
    let layers = Layers::new();
    fs::write(layers.path("work/file"), "").unwrap();
    let refused = shell("true").mount(layers.mount()).run();
    assert!(
        matches!(&refused, Err(Error::Mount { path, .. }) if *path == layers.path("work")),
        "{refused:?}"
    );
    assert!(layers.path("work/file").exists());
}

/// The kernel takes no upper directory on such a file system.
fn none() {
    let layers = Layers::new();
    let upper = PathBuf::from("/proc/self/task");
    let mount = Mount::Overlay {
        lower: layers.path("lower"),
        upper: layers.path("upper"),
        work: upper,
        to: "/state".into(),
    };
    let refused = shell("true").mount(mount).run();
    assert!(refused.is_err(), "{refused:?}");
    if !is_root() {
        return;
    }
    // An owner cannot be mapped on a file system that keeps none.
    let mount = Mount::Overlay {
        lower: "/proc/sys/kernel/random".into(),
        upper: layers.path("upper"),
        work: layers.path("work"),
        to: "/state".into(),
    };
    let refused = shell("true").mount(mount).run();
    let Err(Error::Missing { capability, reason }) = refused else { panic!("{refused:?}") };
    assert_eq!(capability, "id-mapped mount");
    assert!(reason.contains("/proc/sys/kernel/random"), "{reason}");
    assert_eq!(fs::metadata(layers.path("upper")).unwrap().uid(), 0);
}
