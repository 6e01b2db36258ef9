//! Trying each protection in a process of its own, for `doctor` and its like.

use std::os::unix::net::UnixStream;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::cgroup::Groups;
use super::ids::{self, Ids};
use super::{keeper, landlock, proof, tree};
use crate::capability::{
    CGROUP_MEMORY, CGROUP_PROCESSES, CLOCK, EYE, Found, LANDLOCK, MOUNTS, NAMESPACES, NOTICES,
    OVERLAY, PRIVATE_USER, PROC, PROGRAMS, SECCOMP, SINKHOLE, USER_NAMESPACES,
};
use crate::error::{Failure, Kind, Staged, Step};
use crate::net;
use crate::spec::Sandbox;
use crate::sys::{self, Fork};
use crate::wire;

/// All probes, as far as they get.
pub(crate) fn all() -> Vec<Found> {
    let mut found = vec![
        told(LANDLOCK, landlock::probe()),
        told(SECCOMP, sys::seccomp_available().needs(SECCOMP).and_then(|()| proof::filter_kills())),
        told(PROGRAMS, landlock::probe().map_err(|lack| Failure::missing(PROGRAMS, lack.text))),
        told(NOTICES, sys::notices_available().needs(NOTICES)),
        told(CGROUP_MEMORY, group(|plan| plan.limits.memory = Some(64 << 20), 1)),
        told(CGROUP_PROCESSES, group(|_| {}, 1)),
    ];
    let ids = Ids::choose();
    let rest = ids.as_ref().map(within).unwrap_or_default();
    found.push(told(
        PRIVATE_USER,
        ids.and_then(|ids| match ids {
            Ids::Private { .. } => Ok(()),
            Ids::Caller { .. } => Err(Failure::missing(PRIVATE_USER, "only root can give one")),
        }),
    ));
    found.extend(rest);
    found
}

fn told(name: &str, result: Staged<()>) -> Found {
    let missing = result.err().map(|failure| match failure.kind {
        Kind::Missing => failure.text,
        _ => format!("{}: {}", failure.what, failure.text),
    });
    Found { name: name.to_owned(), missing }
}

fn group(ask: impl Fn(&mut crate::spec::Plan), expected: usize) -> Staged<()> {
    let mut plan = Sandbox::new(Vec::new()).plan;
    ask(&mut plan);
    let mut groups = Groups::make(&plan, &format!("probe-{}", nix::unistd::getpid()))?;
    let made = groups.count();
    groups.remove();
    if made < expected {
        return Err(Failure::missing(CGROUP_PROCESSES, "no control group could be made"));
    }
    Ok(())
}

/// What can only be tried inside namespaces, in a child.
fn within(ids: &Ids) -> Vec<Found> {
    let Ok((ours, theirs)) = UnixStream::pair() else { return Vec::new() };
    let child = match sys::fork() {
        Ok(Fork::Child) => {
            drop(ours);
            // Nobody listens any more if this fails.
            _ = wire::send(&theirs, &first(ids), &[]);
            std::process::exit(0)
        }
        Ok(Fork::Parent(child)) => child,
        Err(_) => return Vec::new(),
    };
    drop(theirs);
    let found = match wire::receive(&ours) {
        Ok(Some((found, _))) => found,
        Ok(None) | Err(_) => Vec::new(),
    };
    _ = kill(child, Signal::SIGKILL);
    _ = waitpid(child, None);
    found
}

/// The outer half: ids and namespaces, then a process inside them.
fn first(ids: &Ids) -> Vec<Found> {
    let user = match ids {
        Ids::Private { .. } => match ids::user_namespaces_forbidden() {
            Some(why) => Err(Failure::missing(USER_NAMESPACES, why)),
            None => Ok(()),
        },
        Ids::Caller { uid, gid } => unshare(CloneFlags::CLONE_NEWUSER)
            .map_err(std::io::Error::from)
            .and_then(|()| keeper::write_maps("self", &[(1000, *uid)], &[(1000, *gid)]))
            .map_err(|error| ids::no_user_namespace(&error)),
    };
    let clock = told(CLOCK, clock());
    let stop = user.is_err();
    let mut found = vec![told(USER_NAMESPACES, user), clock];
    if stop {
        return found;
    }
    let spaces = unshare(
        CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .needs(NAMESPACES);
    let stop = spaces.is_err();
    found.push(told(NAMESPACES, spaces));
    if stop {
        return found;
    }
    found.push(told(
        SINKHOLE,
        net::loopback_up().and_then(|()| net::sink_everything(false)).needs(SINKHOLE),
    ));
    found.push(told(EYE, net::packet_socket().map(sys::close_unwaited).needs(EYE)));
    let inside = second();
    found.extend(inside);
    found
}

/// The inner half: `/proc` can be mounted only by a process of the new pid namespace.
fn second() -> Vec<Found> {
    let Ok((ours, theirs)) = UnixStream::pair() else { return Vec::new() };
    match sys::fork() {
        Ok(Fork::Child) => {
            drop(ours);
            let found = vec![
                told(PROC, tree::probe_proc().needs(PROC)),
                told(MOUNTS, tree::probe_mounts().needs(MOUNTS)),
                told(OVERLAY, tree::probe_layers().needs(OVERLAY)),
            ];
            _ = wire::send(&theirs, &found, &[]);
            std::process::exit(0)
        }
        Ok(Fork::Parent(child)) => {
            drop(theirs);
            let found =
                wire::receive(&ours).ok().flatten().map(|(found, _)| found).unwrap_or_default();
            _ = waitpid(child, None);
            found
        }
        Err(_) => Vec::new(),
    }
}

/// Whether a child can be seized, as the clock's tracer does.
fn clock() -> Staged<()> {
    let child = match sys::fork().needs(CLOCK)? {
        Fork::Child => {
            // Never got further if this fails.
            _ = raise(Signal::SIGSTOP);
            std::process::exit(0)
        }
        Fork::Parent(child) => child,
    };
    let stopped = waitpid(child, Some(WaitPidFlag::WUNTRACED));
    let seized = match stopped {
        Ok(WaitStatus::Stopped(..)) => {
            nix::sys::ptrace::seize(child, nix::sys::ptrace::Options::PTRACE_O_EXITKILL)
        }
        Ok(_) => Err(nix::errno::Errno::ECHILD),
        Err(error) => Err(error),
    };
    _ = kill(child, Signal::SIGKILL);
    _ = waitpid(child, Some(WaitPidFlag::__WALL));
    seized.needs(CLOCK)
}
