//! What a caller asks for: a command and all that goes with it, checked before anything is started.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::lower::Lowerable;
use crate::notice::Told;
use crate::options::{Identity, Limits, Machine, Mount, Network};
use crate::running::{Ended, Running};

/// Where a machine's own programs and libraries are.
const HOST: [&str; 9] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ld.so.cache",
];

/// A payload to be run in isolation: what it may see and use up. [`Sandbox::spawn`] starts it.
///
/// The payload always gets: its own user, mount, process, network, IPC, host name and cgroup
/// namespaces; a kernel user id of its own when the caller is root; no capabilities and no way to new
/// ones; a read-only tree with `/proc`, five device nodes, generated `/etc/{passwd,group,hosts,
/// resolv.conf,nsswitch.conf,machine-id}`, and sized writable `/tmp`, `/run` and `/dev/shm`; nothing of
/// the caller's environment or open files.
#[derive(Debug)]
pub struct Sandbox {
    pub(crate) plan: Plan,
    pub(crate) log: Option<File>,
}

/// The part of a [`Sandbox`] that can be written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) command: Vec<OsString>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) work_dir: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) machine: Machine,
    pub(crate) limits: Limits,
    pub(crate) network: Network,
    pub(crate) listen: Vec<(String, SocketAddr)>,
    pub(crate) doors: Vec<SocketAddr>,
    pub(crate) notify: bool,
    pub(crate) census: bool,
    pub(crate) attribute: bool,
    pub(crate) first_bytes: usize,
    pub(crate) output_bytes: u64,
    pub(crate) keep_free: u64,
    /// What the operator goes without; the keeper leaves in it what it went without in fact.
    #[serde(default)]
    pub(crate) lowered: Vec<Lowerable>,
    #[serde(default)]
    pub(crate) given_programs: bool,
    /// Whether the filter is tried on a process that it must kill: once in the caller's life.
    #[serde(default)]
    pub(crate) first: bool,
}

impl Plan {
    /// Makes the sources absolute: the keeper works in `/`.
    pub(crate) fn make_absolute(&mut self) -> std::io::Result<()> {
        for mount in &mut self.mounts {
            match mount {
                Mount::ReadOnly { from, .. } | Mount::Writable { from, .. } => {
                    *from = std::path::absolute(&*from)?;
                }
                Mount::Overlay { lower, upper, work, .. } => {
                    for path in [lower, upper, work] {
                        *path = std::path::absolute(&*path)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Which of its calls are told to init.
    pub(crate) fn told(&self) -> Option<Told> {
        match (self.census, self.attribute || self.machine.is_shown()) {
            (true, _) => Some(Told::Everything),
            (false, true) => Some(Told::Destinations),
            (false, false) => None,
        }
    }

    /// Says what makes no sense in it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.command.first().is_none_or(|program| program.is_empty()) {
            return Err("the command is empty".to_owned());
        }
        for mount in &self.mounts {
            check_target(mount)?;
        }
        if self.given_programs {
            self.check_apart()?;
        }
        for (name, _) in &self.environment {
            if name.is_empty() || name.as_encoded_bytes().contains(&b'=') {
                return Err(format!("{} is no name of a variable", name.display()));
            }
        }
        if let Some((name, _)) = self.listen.iter().find(|(name, _)| name.contains(':')) {
            return Err(format!("the socket name {name} has a colon"));
        }
        if self.machine.cpus == Some(0) {
            return Err("a machine without processors".to_owned());
        }
        if let Some(mask) = &self.machine.mask {
            let texts = [&mask.kernel_release, &mask.kernel_version];
            if let Some(text) = texts.into_iter().find(|t| t.len() > 64 || t.contains(['\n', '\0']))
            {
                return Err(format!("{text:?} is no name of a kernel"));
            }
        }
        if self.census && self.machine.is_attended() {
            // A call that is told is not traced, and would see the real clock.
            return Err("a census of system calls under another clock or randomness".to_owned());
        }
        let names = [&self.identity.user, &self.identity.hostname, &self.identity.domain];
        if let Some(name) =
            names.into_iter().find(|name| name.contains([':', '\n', '\0', ' ', '/']))
        {
            return Err(format!("{name:?} is no name of a user, host or domain"));
        }
        Ok(())
    }

    /// Rights to execute are given by directory, with all that is below.
    fn check_apart(&self) -> Result<(), String> {
        let given = self.mounts.iter().filter(|mount| matches!(mount, Mount::ReadOnly { .. }));
        let given: Vec<&Path> = given.map(crate::stage::to).collect();
        let within = self.mounts.iter().find(|mount| {
            let read_only =
                matches!(mount, Mount::ReadOnly { .. } | Mount::Dir { .. } | Mount::Link { .. });
            let file = matches!(mount, Mount::File { .. });
            let to = crate::stage::to(mount);
            !read_only && !file && given.iter().any(|given| to.starts_with(given))
        });
        match within {
            None => Ok(()),
            Some(mount) => {
                let to = crate::stage::to(mount).display();
                Err(format!("{to} is to be written, and lies where programs are executed"))
            }
        }
    }
}

/// A mount's place must be absolute, without `..`, and not in what the sandbox makes itself.
fn check_target(mount: &Mount) -> Result<(), String> {
    let to = crate::stage::to(mount);
    let plain =
        to.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !to.is_absolute() || !plain || to.parent().is_none() {
        return Err(format!("{} is no path below the root", to.display()));
    }
    let own = ["/proc", "/sys", "/dev"].iter().any(|own| to.starts_with(own));
    if own && !(matches!(mount, Mount::Tmpfs { .. }) && to == Path::new("/dev/shm")) {
        return Err(format!("{} is the sandbox's own", to.display()));
    }
    Ok(())
}

impl Sandbox {
    /// A sandbox for this command line, as seen inside. A program without a `/` is looked for in the
    /// `PATH` given by [`Sandbox::environment`].
    pub fn new(command: Vec<OsString>) -> Self {
        Self {
            plan: Plan {
                command,
                mounts: Vec::new(),
                environment: Vec::new(),
                work_dir: PathBuf::from("/"),
                identity: Identity::default(),
                machine: Machine::default(),
                limits: Limits::default(),
                network: Network::None,
                listen: Vec::new(),
                doors: Vec::new(),
                notify: false,
                census: false,
                attribute: false,
                first_bytes: 0,
                output_bytes: 0,
                keep_free: 0,
                lowered: Vec::new(),
                given_programs: false,
                first: false,
            },
            log: None,
        }
    }

    /// Adds to the payload's tree.
    #[must_use]
    pub fn mount(mut self, mount: Mount) -> Self {
        self.plan.mounts.push(mount);
        self
    }

    /// Adds the machine's own programs and libraries, read-only: what a program that is not static needs. Links stay
    /// links.
    #[must_use]
    pub fn host_programs(mut self) -> Self {
        for path in HOST.map(PathBuf::from) {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            self = self.mount(match fs::read_link(&path) {
                Ok(target) if metadata.is_symlink() => Mount::Link { to: path, target },
                _ => Mount::ReadOnly { from: path.clone(), to: path },
            });
        }
        self
    }

    /// Sets a variable of the payload's environment, which starts empty.
    #[must_use]
    pub fn environment(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let name = name.into();
        self.plan.environment.retain(|(known, _)| *known != name);
        self.plan.environment.push((name, value.into()));
        self
    }

    /// The directory the payload starts in, inside; `/` unless told.
    #[must_use]
    pub fn work_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.plan.work_dir = path.into();
        self
    }

    /// Who the payload believes it is.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.plan.identity = identity;
        self
    }

    /// Which machine the payload believes to run on.
    #[must_use]
    pub fn machine(mut self, machine: Machine) -> Self {
        self.plan.machine = machine;
        self
    }

    /// What the payload may use up.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.plan.limits = limits;
        self
    }

    /// How many bytes must stay free on the file systems of the scratch directories
    /// ([`Mount::Writable`], and the `upper` of [`Mount::Overlay`]). It is looked at twenty times a second; when there
    /// are less, everything is killed and [`Error::Full`] is the result.
    #[must_use]
    pub fn keep_free(mut self, bytes: u64) -> Self {
        self.plan.keep_free = bytes;
        self
    }

    /// What lies beyond loopback; [`Network::None`] unless told.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.plan.network = network;
        self
    }

    /// TCP sockets by name, opened inside the sandbox's network and passed to the payload as descriptors 3
    /// and up, with `LISTEN_FDS`, `LISTEN_FDNAMES` and `LISTEN_PID`.
    #[must_use]
    pub fn listen(mut self, sockets: Vec<(String, SocketAddr)>) -> Self {
        self.plan.listen = sockets;
        self
    }

    /// A door: an address inside the sandbox's network at which the caller listens, by [`Running::door`], from before the
    /// payload starts. Connections there are no attempts; whom they reach is the caller's affair.
    #[must_use]
    pub fn door(mut self, address: SocketAddr) -> Self {
        self.plan.doors.push(address);
        self
    }

    /// Gives the payload a `NOTIFY_SOCKET`; [`Running::wait_ready`] waits for its `READY=1`.
    #[must_use]
    pub fn notify(mut self) -> Self {
        self.plan.notify = true;
        self
    }

    /// Goes without these where the machine does not have them, and without [`Lowerable::Programs`] in any case.
    /// [`Ended::lowered`] says which were gone without. Landlock cannot be lowered alone where
    /// [`Sandbox::given_programs`] is asked for: that stands on it.
    #[must_use]
    pub fn lower(mut self, names: impl IntoIterator<Item = Lowerable>) -> Self {
        self.plan.lowered.extend(names);
        self
    }

    /// Executes only what the caller has mounted: no file in a directory that the payload may write, and nothing in
    /// memory (`memfd_create` without `MFD_NOEXEC_SEAL` is refused as if the kernel had not got it). Scripts that a
    /// mounted interpreter reads, and code that a program maps, are not programs in this sense.
    #[must_use]
    pub fn given_programs(mut self) -> Self {
        self.plan.given_programs = true;
        self
    }

    /// Has told who tried what: [`Attempt::processes`](crate::Attempt::processes), also under
    /// [`Network::None`], and what is refused before it reaches any network, such as raw sockets and io_uring.
    /// Calls that name a destination, and they only, wait for init's answer, some ten microseconds each. The
    /// payload cannot listen for notices of its own (`SECCOMP_FILTER_FLAG_NEW_LISTENER`) then.
    #[must_use]
    pub fn attribute(mut self) -> Self {
        self.plan.attribute = true;
        self
    }

    /// Keeps the first bytes of each attempt ([`Attempt::first_bytes`](crate::Attempt::first_bytes)), at most this
    /// many, of datagrams at most 700. For that the first connection to each address of a sinkhole is taken
    /// instead of refused, read for at most two seconds of silence, and closed. Implies [`Sandbox::attribute`].
    #[must_use]
    pub fn first_bytes(mut self, most: usize) -> Self {
        self.plan.first_bytes = most;
        self.plan.attribute |= most > 0;
        self
    }

    /// Writes down which system calls the payload and its processes use: [`Ended::calls`]. Every call waits for
    /// init's answer, some ten microseconds each: for a run of its own, not for one that is measured.
    #[must_use]
    pub fn census(mut self) -> Self {
        self.plan.census = true;
        self
    }

    /// Where standard output and standard error go, and how many bytes of them are kept; what comes after
    /// is read and dropped. Without it all output is dropped. Standard input is always empty.
    #[must_use]
    pub fn output(mut self, log: File, max_bytes: u64) -> Self {
        self.plan.output_bytes = max_bytes;
        self.log = Some(log);
        self
    }

    /// Starts the payload. When this returns, the payload's program has been executed.
    ///
    /// # Errors
    /// [`Error::Missing`] by name where the machine lacks a protection; the other variants say which part of
    /// the description could not be had. Nothing is left behind.
    pub fn spawn(self) -> Result<Running, Error> {
        Running::start(self)
    }

    /// Starts the payload and waits for its end.
    ///
    /// # Errors
    /// As [`Sandbox::spawn`] and [`Running::wait`].
    pub fn run(self) -> Result<Ended, Error> {
        self.spawn()?.wait()
    }
}
