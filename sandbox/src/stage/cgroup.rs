//! Control groups for memory, processes and processor time: version 1, version 2, or a refusal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::AccessFlags;

use crate::capability::CGROUP_MEMORY;
use crate::error::{Failure, Staged};
use crate::spec::Plan;

/// The groups of one sandbox. Removed by [`Groups::remove`], when everything in them is dead.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    dirs: Vec<PathBuf>,
    procs: Vec<File>,
}

/// The right to enter the groups: their lists of processes, opened with the keeper's rights.
#[derive(Debug, Default)]
pub(crate) struct Membership(Vec<File>);

impl Membership {
    /// Moves the calling process in, which has one thread.
    pub(crate) fn join(&self) -> io::Result<()> {
        // "0" is whoever writes.
        self.0.iter().try_for_each(|mut procs| procs.write_all(b"0"))
    }
}

/// A controller's own directory for this process, and in which version.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    dir: PathBuf,
    unified: bool,
}

impl Groups {
    /// Makes groups for what the plan limits. Memory must be had if asked for; the others are a second
    /// wall behind resource limits and the affinity mask, used where they can be had.
    pub(crate) fn make(plan: &Plan, unique: &str) -> Staged<Self> {
        let mut groups = Self::default();
        let memory = plan.limits.memory.map(|bytes| bytes.to_string());
        if let Some(bytes) = &memory {
            groups
                .limit("memory", unique, |unified| {
                    if unified {
                        vec![
                            ("memory.max", bytes.clone(), true),
                            ("memory.swap.max", "0".into(), false),
                        ]
                    } else {
                        vec![
                            ("memory.limit_in_bytes", bytes.clone(), true),
                            ("memory.memsw.limit_in_bytes", bytes.clone(), false),
                        ]
                    }
                })
                .map_err(|error| {
                    groups.remove();
                    Failure::missing(CGROUP_MEMORY, error.to_string())
                })?;
        }
        let processes = plan.limits.processes.to_string();
        // Failure is fine: RLIMIT_NPROC bounds them too.
        _ = groups.limit("pids", unique, |_| vec![("pids.max", processes.clone(), true)]);
        if let Some(cpus) = plan.machine.cpus {
            const PERIOD: u64 = 100_000;
            let quota = u64::from(cpus) * PERIOD;
            _ = groups.limit("cpu", unique, |unified| {
                if unified {
                    vec![("cpu.max", format!("{quota} {PERIOD}"), true)]
                } else {
                    vec![
                        ("cpu.cfs_period_us", PERIOD.to_string(), true),
                        ("cpu.cfs_quota_us", quota.to_string(), true),
                    ]
                }
            });
        }
        Ok(groups)
    }

    /// Hands out the right to enter.
    pub(crate) fn membership(&mut self) -> Membership {
        Membership(std::mem::take(&mut self.procs))
    }

    /// How many groups there are.
    pub(crate) fn count(&self) -> usize {
        self.dirs.len()
    }

    /// How many processes the kernel has killed for want of memory in the groups; 0 where it does not say.
    pub(crate) fn memory_kills(&self) -> u64 {
        let files = ["memory.events", "memory.oom_control"];
        let texts = self.dirs.iter().flat_map(|dir| files.map(|name| dir.join(name)));
        texts.filter_map(|path| kills(&fs::read_to_string(path).ok()?)).max().unwrap_or(0)
    }

    /// Removes the groups. Their processes are dead; the kernel may need a moment to notice.
    pub(crate) fn remove(&mut self) {
        let patience = Instant::now() + Duration::from_secs(5);
        for dir in self.dirs.drain(..).rev() {
            while fs::remove_dir(&dir)
                .is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
                && Instant::now() < patience
            {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn limit(
        &mut self,
        controller: &str,
        unique: &str,
        settings: impl Fn(bool) -> Vec<(&'static str, String, bool)>,
    ) -> io::Result<()> {
        let place = find(controller)?;
        let dir = place.dir.join(format!("countersign-{unique}"));
        let made = !self.dirs.contains(&dir);
        if made {
            fs::create_dir(&dir)?;
        }
        let set = || -> io::Result<File> {
            for (name, value, required) in settings(place.unified) {
                let written = fs::write(dir.join(name), value);
                if required {
                    written?;
                }
            }
            // Version 1 lets a thread move itself without waiting for all others of the machine, which takes ten
            // milliseconds.
            let list = if place.unified { "cgroup.procs" } else { "tasks" };
            OpenOptions::new().write(true).open(dir.join(list))
        };
        match set() {
            Ok(procs) => {
                if made {
                    self.procs.push(procs);
                    self.dirs.push(dir);
                }
                Ok(())
            }
            Err(error) => {
                if made {
                    // Empty, so it goes; nothing more can be done if not.
                    _ = fs::remove_dir(&dir);
                }
                Err(error)
            }
        }
    }
}

/// `oom_kill N`, as both versions write it.
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Where a group for this controller can be made.
fn find(controller: &str) -> io::Result<Place> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let place = locate(&mounts, &own, controller)
        .ok_or_else(|| io::Error::other(format!("no {controller} control group is mounted")))?;
    if !place.unified {
        return Ok(place);
    }
    let dir = room(&place.dir, controller)?;
    Ok(Place { dir, unified: true })
}

/// Where version 2 lets us make a group for this controller, for a process in the group `own`. It has no controllers in
/// groups that have processes, so ours is a neighbour, not a child, except of the root. Where only `own` is delegated to
/// this user and nothing above it (systemd's `Delegate=`), all of its processes move aside into a child of it first.
fn room(own: &Path, controller: &str) -> io::Result<PathBuf> {
    let is_root = !own.join("cgroup.type").exists();
    let beside = if is_root { own } else { own.parent().unwrap_or(own) };
    let refused = match divide(beside, controller) {
        Ok(()) => return Ok(beside.to_owned()),
        Err(error) => error,
    };
    let delegated = nix::unistd::access(&own.join("cgroup.subtree_control"), AccessFlags::W_OK);
    if is_root || delegated.is_err() || !lists(own, "cgroup.controllers", controller) {
        return Err(refused);
    }
    let aside = own.join("countersign-aside");
    match fs::create_dir(&aside) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    move_aside(own, &aside, controller)?;
    Ok(own.to_owned())
}

/// Moves all processes of a group into its child, so that it can have controllers.
fn move_aside(own: &Path, aside: &Path, controller: &str) -> io::Result<()> {
    // Some may be born meanwhile.
    for _ in 0..16 {
        for pid in fs::read_to_string(own.join("cgroup.procs"))?.lines() {
            match fs::write(aside.join("cgroup.procs"), pid) {
                Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                _ => {}
            }
        }
        match divide(own, controller) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            other => return other,
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Gives a controller to the children of a group.
fn divide(dir: &Path, controller: &str) -> io::Result<()> {
    if lists(dir, "cgroup.subtree_control", controller) {
        return Ok(());
    }
    if lists(dir, "cgroup.controllers", controller) {
        return fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    let dir = dir.display();
    Err(io::Error::other(format!("the control group {dir} has no {controller} controller")))
}

fn lists(dir: &Path, file: &str, controller: &str) -> bool {
    fs::read_to_string(dir.join(file))
        .is_ok_and(|list| list.split_whitespace().any(|one| one == controller))
}

/// Reads the two `/proc` files. Prefers version 1 where the controller is mounted there: then version 2
/// does not have it.
fn locate(mounts: &str, own: &str, controller: &str) -> Option<Place> {
    for unified in [false, true] {
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let fits = if unified {
                number == "0" && controllers.is_empty()
            } else {
                controllers.split(',').any(|one| one == controller)
            };
            fits.then_some(path)
        });
        let mount = mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ');
            let (root, point) = (left.nth(3)?, left.next()?);
            let mut right = right.split(' ');
            let (kind, options) = (right.next()?, right.nth(1)?);
            let fits = if unified {
                kind == "cgroup2"
            } else {
                kind == "cgroup" && options.split(',').any(|one| one == controller)
            };
            fits.then_some((root, point))
        });
        if let (Some(path), Some((root, point))) = (path, mount)
            && let Ok(below) = Path::new(path).strip_prefix(root)
        {
            return Some(Place { dir: Path::new(point).join(below), unified });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 20 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 20 0:27 /docker/1 /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
32 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn a_controller_of_version_1_is_found_at_its_own_mount() {
        let own = "4:memory:/a/b\n8:pids:/docker/1/x\n0::/c\n";
        let place = |dir: &str, unified| Some(Place { dir: dir.into(), unified });
        assert_eq!(locate(MOUNTS, own, "memory"), place("/sys/fs/cgroup/memory/a/b", false));
        assert_eq!(locate(MOUNTS, own, "pids"), place("/sys/fs/cgroup/pids/x", false));
        assert_eq!(locate(MOUNTS, own, "cpu"), place("/sys/fs/cgroup/unified/c", true));
    }

    /// With a real tree of version 2, and whatever controller it has: on a machine with version 1 that is none of ours.
    #[test]
    fn a_delegated_subtree_of_version_2_makes_room_for_a_group() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(top) = locate(&mounts, "0::/\n", "no-such-controller") else { return };
        let controllers = fs::read_to_string(top.dir.join("cgroup.controllers")).unwrap();
        let Some(controller) = controllers.split_whitespace().next() else { return };
        let own = top.dir.join(format!("countersign-test-{}", std::process::id()));
        let was = lists(&top.dir, "cgroup.subtree_control", controller);
        if divide(&top.dir, controller).is_err() || fs::create_dir(&own).is_err() {
            return;
        }
        let mut inside = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(own.join("cgroup.procs"), inside.id().to_string()).unwrap();

        // The group above would do; one below it stands for a delegation that begins there.
        let below = own.join("below");
        fs::create_dir(&below).unwrap();
        assert_eq!(room(&below, "no-such-controller").unwrap_err().kind(), io::ErrorKind::Other);
        fs::write(below.join("cgroup.procs"), inside.id().to_string()).unwrap();
        assert_eq!(room(&below, controller).unwrap(), own);
        let group = own.join("countersign-payload");
        fs::create_dir(&group).unwrap();
        assert!(lists(&group, "cgroup.controllers", controller));
        fs::write(group.join("cgroup.procs"), inside.id().to_string()).unwrap();

        // And where processes are in the way, they move aside.
        fs::write(own.join("cgroup.subtree_control"), format!("-{controller}")).unwrap();
        fs::write(own.join("cgroup.procs"), inside.id().to_string()).unwrap();
        assert_eq!(divide(&own, controller).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        let aside = own.join("countersign-aside");
        fs::create_dir(&aside).unwrap();
        move_aside(&own, &aside, controller).unwrap();
        assert!(lists(&group, "cgroup.controllers", controller));

        inside.kill().unwrap();
        inside.wait().unwrap();
        let mut groups = Groups { dirs: vec![own.clone(), below, group, aside], procs: Vec::new() };
        groups.remove();
        assert!(!own.exists());
        if !was {
            fs::write(top.dir.join("cgroup.subtree_control"), format!("-{controller}")).unwrap();
        }
    }
}
