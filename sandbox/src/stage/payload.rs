//! The payload's last steps before its program: it gives everything up, in an order in which each step is
//! still allowed.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Pid, Uid};

use super::cgroup::Membership;
use super::tree::Tree;
use super::{landlock, proof, seccomp};
use crate::capability::{NOTICES, OPEN_FILES, SECCOMP};
use crate::error::{Failure, Kind, Staged, Step};
use crate::lower::Lowerable;
use crate::notice::Told;
use crate::spec::Plan;
use crate::{clock, sys, wire};

/// The first descriptor that sockets are passed as (sd_listen_fds).
const FIRST_SOCKET: u32 = 3;

/// What the payload's process starts from.
pub(crate) struct Payload<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) tree: &'a Tree,
    pub(crate) cpus: &'a CpuSet,
    pub(crate) private: bool,
    pub(crate) cgroup: &'a Membership,
    pub(crate) sockets: &'a [OwnedFd],
    /// Standard output and error; without it, `/dev/null`.
    pub(crate) output: Option<&'a OwnedFd>,
    /// Where the listener for told calls goes to init, if any are told.
    pub(crate) passage: Option<&'a UnixStream>,
    /// To init: it writes a byte when all is ready for the payload; the end of file means that the program
    /// has been executed, a frame with a failure that it has not.
    pub(crate) link: UnixStream,
}

impl Payload<'_> {
    /// Becomes the program, or reports and ends.
    pub(crate) fn become_program(self) -> ! {
        let link = match sys::out_of_the_way(self.link.as_fd()) {
            Ok(link) => UnixStream::from(link),
            Err(_) => std::process::exit(127),
        };
        let passage = self.passage.map(|passage| sys::out_of_the_way(passage.as_fd())).transpose();
        let Ok(passage) = passage else { std::process::exit(127) };
        let Err(failure) = self.prepare(&link, passage.map(UnixStream::from).as_ref());
        // Init may be gone; then so is everything.
        _ = wire::send(&link, &failure, &[]);
        std::process::exit(127)
    }

    fn prepare(
        &self,
        link: &UnixStream,
        passage: Option<&UnixStream>,
    ) -> Staged<std::convert::Infallible> {
        nix::unistd::setsid().step("begin a session")?;
        self.cgroup.join().step("enter the control group")?;
        unshare(CloneFlags::CLONE_NEWCGROUP).needs(crate::capability::NAMESPACES)?;
        self.descriptors().step("arrange the descriptors")?;
        self.limits()?;
        sched_setaffinity(Pid::from_raw(0), self.cpus).step("set the processors")?;
        umask(Mode::from_bits_truncate(0o022));
        self.drop_rights().step("drop all capabilities")?;
        let work_dir = &self.plan.work_dir;
        nix::unistd::chdir(work_dir).step(&format!("enter {}", work_dir.display()))?;
        nix::sys::prctl::set_no_new_privs().step("forbid new privileges")?;
        if !self.plan.machine.aslr {
            sys::disable_aslr().step("fix the addresses")?;
        }
        if !self.plan.lowered.contains(&Lowerable::Landlock) {
            landlock::confine(self.tree, self.plan.given_programs)?;
        }
        let command = Command::new(self.plan)?;
        sys::default_signals().step("reset the signals")?;
        // All before this is done while init's threads start; from here on they are needed.
        nix::unistd::read(link, &mut [0; 1]).step("wait for init")?;
        clock::arm(&self.plan.machine).needs(crate::capability::CLOCK)?;
        self.filters(passage)?;
        proof::walls(self.private)?;
        Told::begin();
        command.execute()
    }

    fn filters(&self, passage: Option<&UnixStream>) -> Staged<()> {
        if self.plan.given_programs {
            sys::install_seccomp(&seccomp::no_programs_in_memory()).needs(SECCOMP)?;
        }
        let strict = match (self.plan.told(), passage) {
            (Some(told), Some(passage)) => {
                told.arm(passage, &self.plan.machine).needs(NOTICES)?;
                told.strict()
            }
            _ => Some(seccomp::filter()),
        };
        strict.map_or(Ok(()), |strict| sys::install_seccomp(&strict)).needs(SECCOMP)
    }

    fn descriptors(&self) -> io::Result<()> {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        let null = OwnedFd::from(null);
        let output = self.output.unwrap_or(&null);
        let moved: Vec<OwnedFd> = self
            .sockets
            .iter()
            .map(|socket| sys::out_of_the_way(socket.as_fd()))
            .collect::<Result<_, _>>()?;
        let (null, output) =
            (sys::out_of_the_way(null.as_fd())?, sys::out_of_the_way(output.as_fd())?);
        for (number, fd) in [&null, &output, &output].into_iter().chain(&moved).enumerate() {
            sys::place(fd.as_fd(), i32::try_from(number).map_err(io::Error::other)?)?;
        }
        sys::close_on_exec_from(
            FIRST_SOCKET + u32::try_from(moved.len()).map_err(io::Error::other)?,
        )
    }

    fn limits(&self) -> Staged<()> {
        let limits = &self.plan.limits;
        // As a plain user init's own threads have the payload's user id and count too.
        let others = if self.private { 0 } else { 16 };
        let stack = 8 << 20;
        for (resource, soft, hard) in [
            (Resource::RLIMIT_CORE, 0, 0),
            (Resource::RLIMIT_NOFILE, limits.open_files, limits.open_files),
            (Resource::RLIMIT_FSIZE, limits.file_bytes, limits.file_bytes),
            (Resource::RLIMIT_NPROC, limits.processes + others, limits.processes + others),
            (Resource::RLIMIT_MEMLOCK, stack, stack),
            (Resource::RLIMIT_STACK, stack, libc::RLIM_INFINITY),
            (Resource::RLIMIT_MSGQUEUE, 819_200, 819_200),
            (Resource::RLIMIT_NICE, 0, 0),
            (Resource::RLIMIT_RTPRIO, 0, 0),
        ] {
            let (_, most) = getrlimit(resource).step("read a limit")?;
            if resource == Resource::RLIMIT_NOFILE && soft > most {
                return Err(Failure::missing(
                    OPEN_FILES,
                    format!("{soft} were asked for, and the caller's own hard limit is {most}"),
                ));
            }
            setrlimit(resource, soft.min(most), hard.min(most)).step("set a limit")?;
        }
        Ok(())
    }

    /// All of them, in every set, and the way back to them.
    fn drop_rights(&self) -> io::Result<()> {
        sys::lock_securebits()?;
        sys::drop_bounding()?;
        sys::drop_ambient()?;
        if self.private {
            let identity = &self.plan.identity;
            let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
            nix::unistd::setgroups(&[])?;
            nix::unistd::setresgid(gid, gid, gid)?;
            nix::unistd::setresuid(uid, uid, uid)?;
        }
        sys::set_capabilities(0)
    }
}

/// A command line and an environment as the kernel wants them.
struct Command {
    programs: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    name: String,
}

impl Command {
    fn new(plan: &Plan) -> Staged<Self> {
        let program = plan.command.first().map(PathBuf::from).unwrap_or_default();
        let mut environment: Vec<Vec<u8>> = plan
            .environment
            .iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
            .collect();
        if !plan.listen.is_empty() {
            let names: Vec<&str> = plan.listen.iter().map(|(name, _)| name.as_str()).collect();
            environment.push(format!("LISTEN_FDS={}", names.len()).into_bytes());
            environment.push(format!("LISTEN_FDNAMES={}", names.join(":")).into_bytes());
            environment.push(format!("LISTEN_PID={}", nix::unistd::getpid()).into_bytes());
        }
        if plan.notify {
            environment.push([b"NOTIFY_SOCKET=", super::NOTIFY.as_bytes()].concat());
        }
        let terminated = |bytes: &[u8]| CString::new(bytes).step("write the command line");
        Ok(Self {
            programs: candidates(&program, plan)
                .iter()
                .map(|path| terminated(path.as_os_str().as_bytes()))
                .collect::<Result<_, _>>()?,
            arguments: plan
                .command
                .iter()
                .map(|word| terminated(word.as_bytes()))
                .collect::<Result<_, _>>()?,
            environment: environment
                .iter()
                .map(|word| terminated(word))
                .collect::<Result<_, _>>()?,
            name: program.display().to_string(),
        })
    }

    fn execute(&self) -> Staged<std::convert::Infallible> {
        let mut worst = Errno::ENOENT;
        for program in &self.programs {
            let Err(error) = nix::unistd::execve(program, &self.arguments, &self.environment);
            if error != Errno::ENOENT && error != Errno::ENOTDIR {
                worst = error;
            }
        }
        Err(worst).fail(Kind::Program, self.name.as_str())
    }
}

/// The program itself, or where its name is looked for.
fn candidates(program: &Path, plan: &Plan) -> Vec<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let path = plan.environment.iter().find(|(name, _)| name == OsStr::new("PATH"));
    path.map(|(_, path)| std::env::split_paths(path).map(|dir| dir.join(program)).collect())
        .unwrap_or_default()
}
