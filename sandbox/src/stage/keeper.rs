//! The keeper: the sandbox's process outside. It outlives the payload and leaves nothing behind.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::PollFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;

use super::cgroup::Groups;
use super::ids::{self, Ids};
use super::init::Init;
use super::owner::{self, Given};
use super::proof::Doomed;
use super::{landlock, overlay, probe};
use crate::capability::{CGROUP_MEMORY, NAMESPACES, PROGRAMS};
use crate::error::{Failure, Kind, Staged, Step};
use crate::lower::Lowerable;
use crate::net;
use crate::spec::Plan;
use crate::sys::{self, Fork};
use crate::wire::{self, Errand, Event, Report, Word};

/// Between two looks at the free space.
const LOOK: Duration = Duration::from_millis(50);

/// The keeper's whole life. `caller` is the only thing it was given.
pub(crate) fn run(caller: &UnixStream) {
    // What the caller left open for its children is not for us, and must not be held open by us.
    _ = sys::close_from(3);
    // A terminal's signals and a polite kill are for the caller; the keeper ends when the caller is gone.
    _ = SigSet::all().thread_set_mask();
    _ = nix::unistd::setsid();
    let last = match wire::receive::<Errand>(caller) {
        Ok(Some((Errand::Run(mut plan), mut fds))) => {
            run_plan(&mut plan, fds.pop().map(File::from), caller)
        }
        Ok(Some((Errand::Probe, _))) => Some(Event::Probed(probe::all())),
        Ok(None) | Err(_) => None,
    };
    if let Some(event) = last {
        // Whoever does not wait for it has gone.
        _ = wire::send(caller, &event, &[]);
    }
}

/// Runs a payload; the last event is what the caller gets when all is cleaned up, if init had a last word.
fn run_plan(plan: &mut Plan, log: Option<File>, caller: &UnixStream) -> Option<Event> {
    let mut groups = Groups::default();
    let mut given = Given::default();
    let last = attend(plan, log, caller, &mut groups, &mut given);
    let memory_kills = groups.memory_kills();
    groups.remove();
    let handed_back = given.hand_back();
    overlay::clean(plan);
    let handed_back = handed_back.and_then(|()| overlay::check_after(plan)).err();
    match last {
        Ok(Some(mut report)) => {
            report.lowered.clone_from(&plan.lowered);
            report.memory_kills = memory_kills;
            Some(Event::Ended { report, handed_back })
        }
        Ok(None) => None,
        Err(failure) => Some(Event::Failed(failure)),
    }
}

fn attend(
    plan: &mut Plan,
    log: Option<File>,
    caller: &UnixStream,
    groups: &mut Groups,
    given: &mut Given,
) -> Staged<Option<Report>> {
    let doomed = plan.first.then(Doomed::start).transpose()?;
    let ids = Ids::choose()?;
    let inside = (plan.identity.uid, plan.identity.gid);
    *groups = settle(plan)?;
    let plan = &*plan;
    owner::refuse_doors(plan)?;
    let lowers = overlay::prepare(plan, &ids)?;
    if let Some((payload, _)) = ids.private() {
        *given = Given::give(plan, payload)?;
    }
    refuse_full(plan)?;
    enter_namespaces(&ids, inside)?;

    let (ours, theirs) = UnixStream::pair().step("make a socket to init")?;
    let membership = groups.membership();
    let child = match sys::fork().step("fork init")? {
        Fork::Child => {
            drop(ours);
            let private = ids.private();
            // The reservation of the ids is the keeper's alone.
            drop(ids);
            Init { plan, log, private, lowers, membership, keeper: theirs, caller }.run()
        }
        Fork::Parent(child) => child,
    };
    drop((theirs, log, membership, lowers));
    let attended = || {
        give_network(&ours)?;
        doomed.map_or(Ok(()), Doomed::check)?;
        listen(child, &ours, caller, &ids, plan)
    };
    let result = attended();
    // SIGKILL from outside reaches even the first process of a pid namespace, and all others die with it.
    _ = kill(child, Signal::SIGKILL);
    _ = nix::sys::wait::waitpid(child, None);
    result
}

/// Makes the control groups, and leaves in `lowered` what the plan goes without from here on.
fn settle(plan: &mut Plan) -> Staged<Groups> {
    let asked = std::mem::take(&mut plan.lowered);
    let may_lack = |one: Lowerable| asked.contains(&one);
    if plan.given_programs && may_lack(Lowerable::Programs) {
        plan.given_programs = false;
        plan.lowered.push(Lowerable::Programs);
    }
    if may_lack(Lowerable::Landlock) && landlock::probe().is_err() {
        if plan.given_programs {
            return Err(Failure::missing(
                PROGRAMS,
                "it stands on Landlock, which this machine lacks; lower \"programs\" too",
            ));
        }
        plan.lowered.push(Lowerable::Landlock);
    }
    match Groups::make(plan, &unique()) {
        Err(failure) if failure.what == CGROUP_MEMORY && may_lack(Lowerable::MemoryLimit) => {
            plan.limits.memory = None;
            plan.lowered.push(Lowerable::MemoryLimit);
            Groups::make(plan, &unique())
        }
        other => other,
    }
}

/// Children will be in a new pid namespace; as a plain user, this process is in a new user namespace too.
fn enter_namespaces(ids: &Ids, inside: (u32, u32)) -> Staged<()> {
    let Ids::Caller { uid, gid } = *ids else {
        return unshare(CloneFlags::CLONE_NEWPID).needs(NAMESPACES);
    };
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| ids::no_user_namespace(&errno.into()))?;
    write_maps("self", [(inside.0, uid)].as_slice(), [(inside.1, gid)].as_slice())
        .map_err(|error| ids::no_user_namespace(&error))?;
    unshare(CloneFlags::CLONE_NEWPID).needs(NAMESPACES)
}

/// Makes the sandbox's network while init builds the tree: the kernel takes a third as long for the one as for the other.
fn give_network(init: &UnixStream) -> Staged<()> {
    unshare(CloneFlags::CLONE_NEWNET).needs(NAMESPACES)?;
    net::loopback_up().needs(NAMESPACES)?;
    let network = File::open("/proc/self/ns/net").step("open the network")?;
    // An init that is gone has said why.
    _ = wire::send(init, &(), &[network.as_fd()]);
    Ok(())
}

/// Answers init's words until its last one, or until the caller goes away.
fn listen(
    child: Pid,
    init: &UnixStream,
    caller: &UnixStream,
    ids: &Ids,
    plan: &Plan,
) -> Staged<Option<Report>> {
    let look = (plan.keep_free > 0).then_some(LOOK);
    loop {
        let [spoke, gone] = wire::wait(
            [(init.as_fd(), PollFlags::POLLIN), (caller.as_fd(), PollFlags::empty())],
            look,
        )
        .step("wait for init")?;
        refuse_full(plan)?;
        if gone {
            return Ok(None);
        }
        if !spoke {
            continue;
        }
        match wire::receive::<Word>(init).step("listen to init")? {
            Some((Word::Hello, _)) => {}
            Some((Word::MapMe, _)) => {
                let Some((payload, own)) = ids.private() else { continue };
                let inside = (plan.identity.uid, plan.identity.gid);
                let init_id = Ids::init_inside(inside.0);
                let init_gid = Ids::init_inside(inside.1);
                write_maps(
                    &child.to_string(),
                    &[(inside.0, payload), (init_id, own)],
                    &[(inside.1, payload), (init_gid, own)],
                )
                .step("map the payload's user id")?;
            }
            Some((Word::Failed(failure), _)) => return Err(failure),
            Some((Word::Report(report), _)) => return Ok(Some(report)),
            None => return Ok(None),
        }
        let mut answer = init;
        answer.write_all(&[0]).step("answer init")?;
    }
}

/// The payload ends when it leaves less space than it must.
fn refuse_full(plan: &Plan) -> Staged<()> {
    if plan.keep_free == 0 {
        return Ok(());
    }
    for mount in &plan.mounts {
        let Some(from) = mount.scratch() else { continue };
        let stat = statvfs(from).fail(Kind::Owner, from.display().to_string())?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        if free < plan.keep_free {
            let text = format!("{free} bytes are free, {} are to stay free", plan.keep_free);
            let what = from.display().to_string();
            return Err(Failure { kind: Kind::Full, what, errno: None, text });
        }
    }
    Ok(())
}

/// Writes the maps (inside, outside) of a process's user namespace.
pub(super) fn write_maps(
    process: &str,
    uids: &[(u32, u32)],
    gids: &[(u32, u32)],
) -> std::io::Result<()> {
    let lines = |ids: &[(u32, u32)]| -> String {
        ids.iter().map(|(inside, outside)| format!("{inside} {outside} 1\n")).collect()
    };
    let dir = format!("/proc/{process}");
    if process == "self" {
        fs::write(format!("{dir}/setgroups"), "deny")?;
    }
    fs::write(format!("{dir}/uid_map"), lines(uids))?;
    fs::write(format!("{dir}/gid_map"), lines(gids))
}

/// A name that no other sandbox's control group has, in any pid namespace.
fn unique() -> String {
    let mut bytes = [0; 8];
    let random = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    // Without randomness the pid alone is tried; a name that is taken is an error, not a surprise.
    if random.is_err() {
        return nix::unistd::getpid().to_string();
    }
    format!("{}-{:016x}", nix::unistd::getpid(), u64::from_le_bytes(bytes))
}

/// A word to the keeper, and its answer. Fails when the keeper is dead.
pub(super) fn tell(keeper: &UnixStream, word: &Word) -> Staged<()> {
    wire::send(keeper, word, &[]).step("tell the keeper")?;
    let mut answer = keeper;
    answer.read_exact(&mut [0; 1]).step("hear the keeper")
}

/// Failures that are of the plan rather than of the machine are told like all others.
pub(super) fn last_word(keeper: &UnixStream, failure: Failure) {
    // If the keeper is gone, this process is about to be.
    _ = wire::send(keeper, &Word::Failed(failure), &[]);
}
