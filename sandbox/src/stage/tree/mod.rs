//! The payload's tree: an empty read-only file system with only the given mounts, and the machine's masked.
//!
//! Every mount is made and sealed as a detached one, then attached, so none is ever there half-made:
//!
//! ```text
//! /            tmpfs, read-only in the end      /etc /sys  generated files
//! /dev         five device nodes, /dev/shm      /proc      own, read-only, masked
//! /tmp /run    sized tmpfs                      …          the caller's, in the caller's order
//! ```

mod ground;
mod layers;
mod source;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use self::ground::{Ground, HIDDEN};
use self::source::{Memory, NOEXEC, NOSUID, RDONLY, Ready};
use super::generated;
use crate::capability::{MOUNTS, PROC};
use crate::error::{Failure, Kind, Staged, Step};
use crate::options::{Machine, Mount, Random};
use crate::spec::Plan;
use crate::sys::Detached;

/// Beside the caller's own files, for generated ones: 16 MiB.
const ROOT_BYTES: u64 = 16 << 20;

/// The finished tree, as init and the payload need it afterwards.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Where the payload may write.
    pub(crate) writable: Vec<OwnedFd>,
    /// What it was given to be read and executed.
    pub(crate) given: Vec<OwnedFd>,
    /// Its device nodes.
    pub(crate) devices: Vec<OwnedFd>,
    /// The `sys` directory of a second, writable `/proc` that is not in the tree.
    pub(crate) sysctl: OwnedFd,
}

/// Builds the tree and makes it this process's root. `owner` is the payload's id as this process sees it;
/// `lowers` has the id map of each [`Mount::Overlay`]'s lower directory, where the caller is root.
pub(crate) fn enter(
    plan: &Plan,
    cpus: usize,
    owner: (u32, u32),
    private: bool,
    lowers: &[OwnedFd],
) -> Staged<Tree> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .step("cut the mounts off from the machine's")?;
    let sources = source::take_all(plan, private, lowers)?;
    let devices = source::take_devices()?;
    let outside = source::proc(0).needs(PROC)?;
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let sysctl = openat(outside.as_fd(), "sys", flags, Mode::empty()).step("open /proc/sys")?;
    // In the machine's tree it goes with that; a mount that lies nowhere is waited for when it is closed.
    let place = File::open("/proc").step("open /proc")?;
    outside.attach(place.as_fd()).needs(PROC)?;

    let ground = Ground::new(content_bytes(plan).saturating_mul(2) + ROOT_BYTES)?;
    let mut builder =
        Builder { ground, owner, writable: Vec::new(), given: Vec::new(), covered: 0 };
    builder.base(plan)?;
    let devices = builder.devices(devices, plan.machine.random)?;
    builder.proc(cpus, plan)?;
    builder.processors(cpus)?;
    for (mount, ready) in plan.mounts.iter().zip(sources) {
        let to = to(mount);
        builder
            .add(to, ready)
            .map_err(|error| Failure::new(Kind::Mount, to.display().to_string(), &error))?;
    }
    builder.mask_machine_id(&plan.machine).step("mask the machine id")?;
    let Builder { ground, writable, given, .. } = builder;
    ground.finish()?;
    Ok(Tree { writable, given, devices, sysctl })
}

/// Where in the tree a mount goes.
pub(crate) fn to(mount: &Mount) -> &Path {
    match mount {
        Mount::ReadOnly { to, .. }
        | Mount::Writable { to, .. }
        | Mount::Overlay { to, .. }
        | Mount::Tmpfs { to, .. }
        | Mount::File { to, .. }
        | Mount::Link { to, .. }
        | Mount::Dir { to } => to,
    }
}

/// Whether `/proc` can be mounted here; for a probe.
pub(crate) fn probe_proc() -> io::Result<()> {
    source::proc(0).map(drop)
}

/// Whether mounts can be made, sealed and attached here; for a probe.
pub(crate) fn probe_mounts() -> io::Result<()> {
    // Where the machine's root is shared, its other namespaces would get the mount too.
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
    let probe =
        Memory { bytes: 4096, inodes: 2, mode: 0o755, owner: None, flags: NOSUID }.make()?;
    probe.seal(RDONLY)?;
    probe.attach(File::open("/")?.as_fd())
}

/// Whether this kernel has layered file systems for this user; for a probe.
pub(crate) fn probe_layers() -> io::Result<()> {
    crate::sys::FsContext::open(c"overlay").map(drop)
}

fn content_bytes(plan: &Plan) -> u64 {
    let bytes = |mount: &Mount| match mount {
        Mount::File { content, .. } => content.len() as u64,
        _ => 0,
    };
    let devices = match plan.machine.random {
        Random::Held(_) => Random::DEVICE_BYTES as u64 * 2,
        Random::Real => 0,
    };
    plan.mounts.iter().map(bytes).sum::<u64>() + devices
}

/// The tree while it grows.
struct Builder {
    ground: Ground,
    owner: (u32, u32),
    writable: Vec<OwnedFd>,
    given: Vec<OwnedFd>,
    /// How many of the caller's files were covered.
    covered: u32,
}

impl Builder {
    /// What every payload gets: `/etc`, and memory to write to.
    fn base(&mut self, plan: &Plan) -> Staged<()> {
        for path in ["/etc", "/dev", "/proc", "/sys", HIDDEN] {
            self.ground.dir(Path::new(path)).step("make a directory of the tree")?;
        }
        for (name, content) in generated::etc(plan) {
            let path = Path::new("/etc").join(name);
            self.ground.file(&path, content.as_bytes()).step("write a file of /etc")?;
        }
        for (path, bytes, inodes, mode, flags) in [
            ("/tmp", 1 << 30, 1 << 18, 0o1777, 0),
            ("/run", 16 << 20, 4096, 0o755, NOEXEC),
            ("/dev/shm", 256 << 20, 1 << 16, 0o1777, NOEXEC),
        ] {
            let memory = Memory { bytes, inodes, mode, owner: Some(self.owner), flags };
            let made = memory.make().needs(MOUNTS)?;
            let mount = self.ground.attach_made(made, Path::new(path)).step("mount a tmpfs")?;
            self.writable.push(mount);
        }
        Ok(())
    }

    fn devices(&mut self, devices: Vec<Detached>, random: Random) -> Staged<Vec<OwnedFd>> {
        for (name, target) in [
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ] {
            self.ground.link(Path::new(name), Path::new(target)).step("link a name of /dev")?;
        }
        let mut mounted = Vec::new();
        for (name, device) in source::DEVICES.iter().zip(devices) {
            let path = Path::new("/dev").join(name);
            match random {
                Random::Held(seed) if name.ends_with("random") => {
                    let content = generated::random_bytes(seed);
                    self.ground.file(&path, &content).step("write a file of random bytes")?;
                }
                _ => mounted.push(self.ground.attach(device, &path).step("mount a device")?),
            }
        }
        Ok(mounted)
    }

    /// Own `/proc`, and over each top-level name that tells of the machine a fake or nothing.
    fn proc(&mut self, cpus: usize, plan: &Plan) -> Staged<()> {
        let proc = source::proc(RDONLY).needs(PROC)?;
        let names = source::top_level(&proc).step("list /proc")?;
        let proc = self.ground.attach(proc, Path::new("/proc")).step("mount /proc")?;

        let hidden = Path::new(HIDDEN);
        let (empty_file, empty_dir) = (hidden.join("file"), hidden.join("dir"));
        self.ground.dir(&empty_dir).step("make a mask")?;
        self.ground.file(&empty_file, b"").step("make a mask")?;
        let fakes = generated::proc(cpus, plan.limits.memory, &plan.machine);
        // Of a file, and of a directory: the first that was made, of which all others are copies.
        let mut masks: [Option<Detached>; 2] = [None, None];
        for (name, is_dir) in names {
            let process = name.bytes().all(|byte| byte.is_ascii_digit());
            if process || generated::KEPT.contains(&name.as_str()) {
                continue;
            }
            let over = Path::new("/proc").join(&name);
            if let Some((name, content)) = fakes.iter().find(|(fake, _)| *fake == name) {
                let fake = hidden.join(name);
                self.ground.file(&fake, content.as_bytes()).step("make a mask")?;
                self.ground.cover(&over, &fake).step("mask a name in /proc")?;
                continue;
            }
            let [of_file, of_dir] = &mut masks;
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let place = openat(&proc, name.as_str(), flags, Mode::empty());
            let place = place.step("look at a name in /proc")?;
            let (first, empty) = if is_dir { (of_dir, &empty_dir) } else { (of_file, &empty_file) };
            let mask = match first {
                Some(first) => Detached::copy_at(first.as_fd()),
                None => self.ground.sealed(empty),
            };
            let mask = mask.step("mask a name in /proc")?;
            mask.attach(place.as_fd()).step("mask a name in /proc")?;
            first.get_or_insert(mask);
        }
        for (name, content) in generated::sysctl(&plan.machine) {
            let fake = hidden.join(name.replace('/', "-"));
            self.ground.file(&fake, content.as_bytes()).step("make a mask")?;
            let over = Path::new("/proc/sys").join(name);
            self.ground.cover(&over, &fake).step("mask a name in /proc/sys")?;
        }
        Ok(())
    }

    /// All that there is of `/sys`.
    fn processors(&mut self, cpus: usize) -> Staged<()> {
        let step = "write the list of processors";
        let base = Path::new("/sys/devices/system/cpu");
        for name in ["online", "present", "possible"] {
            let list = generated::cpu_list(cpus);
            self.ground.file(&base.join(name), list.as_bytes()).step(step)?;
        }
        for cpu in 0..cpus {
            self.ground.dir(&base.join(format!("cpu{cpu}"))).step(step)?;
        }
        Ok(())
    }

    /// One of the caller's mounts.
    fn add(&mut self, to: &Path, ready: Ready<'_>) -> io::Result<()> {
        match ready {
            Ready::Copy(copy, write) => {
                let mount = self.ground.attach(copy, to)?;
                let list = if write { &mut self.writable } else { &mut self.given };
                list.push(mount);
                Ok(())
            }
            Ready::Made(Mount::Tmpfs { bytes, inodes, .. }) => {
                let (bytes, inodes, owner) = (*bytes, *inodes, Some(self.owner));
                let made = Memory { bytes, inodes, mode: 0o755, owner, flags: 0 }.make()?;
                let mount = self.ground.attach_made(made, to)?;
                self.writable.push(mount);
                Ok(())
            }
            Ready::Made(Mount::File { content, .. }) => match self.ground.stat(to) {
                // There already in what the caller mounted: covered, never written.
                Ok(stat) if !self.ground.is_ours(&stat) => self.cover_with(to, content),
                _ => self.ground.file(to, content),
            },
            Ready::Made(Mount::Link { target, .. }) => self.ground.link(to, target),
            Ready::Made(_) => self.ground.dir(to),
        }
    }

    fn cover_with(&mut self, over: &Path, content: &[u8]) -> io::Result<()> {
        let source = PathBuf::from(format!("{HIDDEN}/covered-{}", self.covered));
        self.covered += 1;
        self.ground.file(&source, content)?;
        self.ground.cover(over, &source)
    }

    /// Whatever the caller mounted over `/etc` or `/var`, this machine's id is not in it.
    fn mask_machine_id(&mut self, machine: &Machine) -> io::Result<()> {
        for path in ["/etc/machine-id", "/var/lib/dbus/machine-id"].map(Path::new) {
            match self.ground.stat(path) {
                Ok(stat) if !self.ground.is_ours(&stat) => {
                    self.cover_with(path, generated::machine_id(machine).as_bytes())?;
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
