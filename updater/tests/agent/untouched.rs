//! The kernel's own word that a swap and a roll-back delete nothing in a data directory.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use crate::clients;
use crate::node::Node;

/// Everything that vanishes from a tree.
struct Watch(OwnedFd);

impl Watch {
    fn on(top: &Path) -> Self {
        let watch = Self(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap());
        let mut next = vec![top.to_owned()];
        while let Some(dir) = next.pop() {
            let gone = WatchFlags::DELETE | WatchFlags::DELETE_SELF | WatchFlags::MOVED_FROM;
            inotify::add_watch(&watch.0, &dir, gone | WatchFlags::MOVE_SELF).unwrap();
            let entries = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
            next.extend(entries.filter(|path| path.is_dir() && !path.is_symlink()));
        }
        watch
    }

    /// Names of what vanished. The node's own writes rename `NAME.new` to `NAME`.
    fn vanished(&self) -> BTreeSet<String> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = Reader::new(&self.0, &mut buffer);
        let mut names = BTreeSet::new();
        while let Ok(event) = reader.next() {
            assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW), "too much happened");
            let name = event.file_name().map_or("itself".into(), |name| name.to_string_lossy());
            names.insert(name.into_owned());
        }
        names.retain(|name| !name.ends_with(".new"));
        names
    }
}

pub(crate) fn nothing_is_deleted() {
    let mut node = Node::new();
    let mut supervisor = node.supervise();
    clients::put(node.address, "before").unwrap();
    let state = node.home.state(1);
    std::fs::create_dir_all(state.join("deep/er")).unwrap();
    std::fs::write(state.join("deep/er/file"), "kept").unwrap();
    std::fs::hard_link(state.join("deep/er/file"), state.join("deep/name")).unwrap();
    std::os::unix::fs::symlink("deep", state.join("link")).unwrap();
    let watch = Watch::on(&node.home.states());
    // Forward and back, with migrations, a roll-back, and one whose snapshot is restored.
    node.publish("2.0.0", 2, "");
    assert_eq!(node.run().name(), "Committed");
    node.publish("3.0.0", 1, "sick-live");
    node.rolled_back();
    node.publish("4.0.0", 1, "back-fails-live sick-live");
    let undone = node.rolled_back();
    assert_eq!(watch.vanished(), BTreeSet::new());
    for data in [1, undone.restored.unwrap()] {
        let deep = node.home.state(data).join("deep");
        assert_eq!(std::fs::read_to_string(deep.join("er/file")).unwrap(), "kept");
        assert!(deep.join("name").is_file() && node.home.state(data).join("link").is_symlink());
    }
    // It would have been seen.
    std::fs::remove_file(state.join("deep/name")).unwrap();
    assert_eq!(watch.vanished(), BTreeSet::from(["name".to_owned()]));
    supervisor.terminate();
}
