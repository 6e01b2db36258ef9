//! Init: the first process inside. It builds the sandbox, starts the payload, watches, and reports.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sched::{CloneFlags, CpuSet, setns, unshare};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};

use super::cgroup::Membership;
use super::control::{self, Control, Door};
use super::ids::{self, Ids};
use super::keeper::{last_word, tell};
use super::output::Pump;
use super::payload::Payload;
use super::resources::{processors, raise_limits, usage};
use super::tree::{self, Tree};
use crate::capability::{CLOCK, EYE, NAMESPACES, SINKHOLE};
use crate::clock;
use crate::error::{Failure, Kind, Staged, Step};
use crate::net::{self, Catcher, Counters, Eye, Ledger, NameServer};
use crate::notice::{Heard, Watch, Witness};
use crate::options::Network;
use crate::running::Exit;
use crate::spec::Plan;
use crate::sys::{self, Fork};
use crate::wire::{self, Event, Report, Word};

/// CAP_DAC_READ_SEARCH, to find what its processes name.
const CAP_DAC_READ_SEARCH: u64 = 1 << 2;
/// CAP_KILL: the payload's processes may have another user id.
const CAP_KILL: u64 = 1 << 5;
/// CAP_SYS_PTRACE, to show them another time or machine, and to read what they tell.
const CAP_SYS_PTRACE: u64 = 1 << 19;
/// CAP_SYS_NICE, to disturb their priorities.
const CAP_SYS_NICE: u64 = 1 << 23;

/// Bounds of `/proc/sys/user` for the payload's user namespace. What a payload holds is counted for the
/// caller outside too, and without these it could use up all that the caller may have. One control group
/// namespace is yet to be made, by the payload's process before it becomes the program.
const BOUNDS: [(&str, &str); 12] = [
    ("user/max_user_namespaces", "0"),
    ("user/max_mnt_namespaces", "0"),
    ("user/max_pid_namespaces", "0"),
    ("user/max_net_namespaces", "0"),
    ("user/max_ipc_namespaces", "0"),
    ("user/max_uts_namespaces", "0"),
    ("user/max_time_namespaces", "0"),
    ("user/max_cgroup_namespaces", "1"),
    ("user/max_inotify_instances", "16"),
    ("user/max_inotify_watches", "8192"),
    ("user/max_fanotify_groups", "0"),
    ("user/max_fanotify_marks", "0"),
];

/// What init starts from.
pub(crate) struct Init<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) log: Option<File>,
    /// Kernel ids of the payload and of init, when the caller is root.
    pub(crate) private: Option<(u32, u32)>,
    /// As root, the id maps of lower directories, in the plan's order.
    pub(crate) lowers: Vec<OwnedFd>,
    pub(crate) membership: Membership,
    pub(crate) keeper: UnixStream,
    pub(crate) caller: &'a UnixStream,
}

/// The sandbox's network as init holds it.
struct Networked {
    sockets: Vec<OwnedFd>,
    doors: Vec<Door>,
    packets: Option<OwnedFd>,
    names: Option<NameServer>,
    before: Counters,
}

impl Init<'_> {
    /// Init's whole life.
    pub(crate) fn run(mut self) -> ! {
        let code = match self.live() {
            Ok(report) => {
                _ = wire::send(&self.keeper, &Word::Report(report), &[]);
                0
            }
            Err(failure) => {
                last_word(&self.keeper, failure);
                1
            }
        };
        std::process::exit(code)
    }

    fn live(&mut self) -> Staged<Report> {
        // It is asked whether it still lives when there is another word for it.
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).step("die with the keeper")?;
        umask(Mode::empty());
        sys::one_heap();
        let (cpus, count) = processors(self.plan)?;
        raise_limits();
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
            .needs(NAMESPACES)?;
        let identity = &self.plan.identity;
        let owner = self.private.map_or((identity.uid, identity.gid), |(id, _)| (id, id));
        let tree = tree::enter(self.plan, count, owner, self.private.is_some(), &self.lowers)?;
        self.lowers.clear();
        nix::unistd::sethostname(&identity.hostname).step("set the host name")?;
        sys::set_domain_name(&identity.domain).step("set the domain name")?;
        self.join_network()?;
        let networked = self.network(&tree, owner.1)?;
        let notify = self.plan.notify.then(notify_socket).transpose()?;
        self.become_nobody()?;
        // As to namespaces, a second wall behind the filter.
        for (name, value) in BOUNDS {
            write_sysctl(&tree, name, value).step(&format!("set {name} inside"))?;
        }
        nix::sys::prctl::set_dumpable(false).step("hide init's memory")?;
        self.start(tree, &cpus, networked, notify)
    }

    /// If the keeper dies, so does init. It may have died before this was asked for: then it does not answer.
    fn die_with_keeper(&self) -> Staged<()> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).step("die with the keeper")?;
        tell(&self.keeper, &Word::Hello)
    }

    /// Takes the network that the keeper has made meanwhile.
    fn join_network(&self) -> Staged<()> {
        let (_, mut given) = wire::receive::<()>(&self.keeper)
            .step("hear the keeper")?
            .ok_or(Errno::EPIPE)
            .step("hear the keeper")?;
        let network = given.pop().ok_or(Errno::EBADF).step("take the network")?;
        setns(network, CloneFlags::CLONE_NEWNET).needs(NAMESPACES)
    }

    fn network(&self, tree: &Tree, group: u32) -> Staged<Networked> {
        let ipv6 = std::path::Path::new("/proc/self/net/if_inet6").exists();
        // Ports below 1024 are as good as others, and a ping is seen rather than refused.
        write_sysctl(tree, "net/ipv4/ip_unprivileged_port_start", "0")
            .step("open the low ports")?;
        write_sysctl(tree, "net/ipv4/ping_group_range", &format!("{group} {group}"))
            .step("allow pings")?;
        if ipv6 {
            write_sysctl(tree, "net/ipv6/conf/lo/disable_ipv6", "0").step("switch IPv6 on")?;
        }
        let sinkhole = self.plan.network == Network::Sinkhole;
        let (mut packets, mut names) = (None, None);
        if sinkhole {
            net::sink_everything(ipv6).needs(SINKHOLE)?;
            packets = Some(net::packet_socket().needs(EYE)?);
            names = Some(NameServer::bind(ipv6).needs(SINKHOLE)?);
        }
        let open = |address| net::listen(address).fail(Kind::Network, address.to_string());
        let listen = &self.plan.listen;
        let sockets = listen.iter().map(|(_, address)| open(address)).collect::<Result<_, _>>()?;
        let doors = self.plan.doors.iter().map(|address| Ok((*address, open(address)?)));
        let doors = doors.collect::<Staged<_>>()?;
        let before = if sinkhole {
            Counters::read().step("read the network's counters")?
        } else {
            Counters::default()
        };
        Ok(Networked { sockets, doors, packets, names, before })
    }

    /// As root: from here on, root's rights over the machine are gone, and inside init is a stranger to the
    /// payload.
    fn become_nobody(&self) -> Staged<()> {
        if self.private.is_none() {
            return self.die_with_keeper();
        }
        unshare(CloneFlags::CLONE_NEWUSER)
            .map_err(|errno| ids::no_user_namespace(&errno.into()))?;
        tell(&self.keeper, &Word::MapMe)?;
        let identity = &self.plan.identity;
        let uid = Uid::from_raw(Ids::init_inside(identity.uid));
        let gid = Gid::from_raw(Ids::init_inside(identity.gid));
        let change = || -> nix::Result<()> {
            nix::unistd::setgroups(&[])?;
            nix::unistd::setresgid(gid, gid, gid)?;
            nix::unistd::setresuid(uid, uid, uid)
        };
        change().step("become another user")?;
        // The kernel forgets the wish to die with the parent when the user changes.
        self.die_with_keeper()
    }

    fn start(
        &mut self,
        tree: Tree,
        cpus: &CpuSet,
        networked: Networked,
        notify: Option<UnixDatagram>,
    ) -> Staged<Report> {
        let (ours, theirs) = UnixStream::pair().step("make a socket to the payload")?;
        let pipe = match self.log {
            Some(_) => {
                Some(nix::unistd::pipe2(OFlag::O_CLOEXEC).step("make a pipe for the output")?)
            }
            None => None,
        };
        let told = self.plan.told();
        let passage = told
            .map(|told| UnixStream::pair().map(|(ours, theirs)| (told, ours, theirs)))
            .transpose()
            .step("make a socket for notices")?;
        let payload = match sys::fork().step("fork the payload")? {
            Fork::Child => Payload {
                plan: self.plan,
                tree: &tree,
                cpus,
                private: self.private.is_some(),
                cgroup: &self.membership,
                sockets: &networked.sockets,
                output: pipe.as_ref().map(|(_, write)| write),
                passage: passage.as_ref().map(|(_, _, theirs)| theirs),
                link: theirs,
            }
            .become_program(),
            Fork::Parent(payload) => payload,
        };
        // What only the payload's process needed.
        drop((theirs, tree, std::mem::take(&mut self.membership)));
        let machine = &self.plan.machine;
        // A program may be hidden from whom it does not belong to, and a notice leads into its memory.
        let reads = machine.is_attended() || machine.is_shown() || self.plan.attribute;
        let tracing = if reads { CAP_SYS_PTRACE } else { 0 };
        // A disk is asked about where the payload stands, which may be a directory of its own.
        let looks = if machine.mask.is_some() { CAP_DAC_READ_SEARCH } else { 0 };
        let nice = if machine.jitter.is_some() { CAP_SYS_NICE } else { 0 };
        let keep = CAP_KILL | tracing | looks | nice;
        sys::set_capabilities(keep).step("drop init's capabilities")?;
        nix::sys::prctl::set_no_new_privs().step("forbid new privileges")?;

        let declared = self.plan.listen.iter().map(|(_, address)| address).chain(&self.plan.doors);
        let ledger = Arc::new(Ledger::new(declared.copied().collect(), self.plan.first_bytes));
        let Networked { sockets, doors, packets, names, before } = networked;
        // Only the payload holds them now: when it closes one, the port is closed.
        drop(sockets);
        let pump = match (pipe, self.log.take()) {
            (Some((read, _)), Some(log)) => {
                Some(Pump::start(read, log, self.plan.output_bytes).step("read the output")?)
            }
            _ => None,
        };
        let watch = passage
            .map(|(told, ours, theirs)| {
                drop(theirs);
                Watch::start(ours, told, machine, self.witness(&ledger)?)
            })
            .transpose()
            .step("listen for notices")?;
        let eye = packets
            .map(|socket| Eye::open(socket, Arc::clone(&ledger)))
            .transpose()
            .step("open the eye")?;
        let voice = names.map(|names| names.serve(&ledger)).transpose().step("serve names")?;
        let control = Control::start(
            self.caller,
            ours,
            Arc::clone(&ledger),
            payload,
            self.plan.limits.wall,
            notify,
            doors,
        )?;

        let start = Instant::now();
        ledger.start();
        control.release_payload();
        let ended = clock::attend(payload, machine);
        let wall = start.elapsed();
        control::kill_all();
        let killed = reap_all();
        let ended = match ended {
            Ok(ended) => ended,
            Err(error) => {
                control.finish(None);
                return Err(Failure::missing(CLOCK, error.to_string()));
            }
        };
        let heard = match watch {
            Some(watch) => watch.finish().step("hear the payload's calls")?,
            None => Heard::default(),
        };
        let exit = match ended {
            _ if control.out_of_time() => Exit::WallTime,
            clock::Ended::Code(code) => Exit::Code(code),
            clock::Ended::Signal(signal) => Exit::Signal(signal),
        };
        let by_itself = !matches!(exit, Exit::WallTime | Exit::Signal(libc::SIGKILL));
        let left_running = if by_itself { killed } else { 0 };
        let output_truncated = pump.is_some_and(Pump::finish);
        let unaccounted = match eye {
            Some(eye) => {
                if let Some(voice) = voice {
                    voice.silence();
                }
                // Nobody of the payload's is left. The caller may still connect a socket that it was given: what is
                // counted is therefore read before the eye takes in the rest, or that would seem unseen.
                let now = Counters::read().step("read the network's counters")?;
                let lost = eye.close().step("close the eye")?;
                now.unaccounted(&before, ledger.seen(), lost)
            }
            None => 0,
        };
        let attempts = ledger.attempts();
        let usage = usage(wall);
        let lowered = Vec::new();
        let report = Report {
            exit,
            left_running,
            attempts,
            unaccounted,
            usage,
            calls: heard.calls,
            output_truncated,
            seen: heard.seen,
            lowered,
            memory_kills: 0,
        };
        control.finish(Some(&Event::Exited(exit)));
        Ok(report)
    }

    fn witness(&self, ledger: &Arc<Ledger>) -> std::io::Result<Option<Witness>> {
        if !self.plan.attribute {
            return Ok(None);
        }
        let (ledger, eye) = (Arc::clone(ledger), self.plan.network == Network::Sinkhole);
        let catcher = (eye && self.plan.first_bytes > 0)
            .then(|| Catcher::start(Arc::clone(&ledger), self.plan.first_bytes))
            .transpose()?;
        Ok(Some(Witness { ledger, eye, catcher }))
    }
}

fn write_sysctl(tree: &Tree, name: &str, value: &str) -> std::io::Result<()> {
    let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    match openat(tree.sysctl.as_fd(), name, flags, Mode::empty()) {
        Ok(file) => std::io::Write::write_all(&mut File::from(file), value.as_bytes()),
        // Built without that part of the kernel: nothing to set.
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn notify_socket() -> Staged<UnixDatagram> {
    let socket = UnixDatagram::bind(super::NOTIFY).step("make the notify socket")?;
    std::fs::set_permissions(super::NOTIFY, std::fs::Permissions::from_mode(0o666))
        .step("open the notify socket")?;
    Ok(socket)
}

/// Waits for everybody who is left; they have all been killed. Returns how many still ran until then.
fn reap_all() -> u64 {
    let mut killed = 0;
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Signaled(_, Signal::SIGKILL, _)) => killed += 1,
            Err(Errno::ECHILD) => return killed,
            Ok(_) | Err(_) => {}
        }
    }
}
