//! Programs that are more than they seem, or that nobody brought, and what they leave behind.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::{WaitStatus, waitpid};

use super::Outcome::{Blocked, NotHere, Through};
use super::{Given, Named, Outcome, call, done};

pub(super) const ALL: &[Named] = &[
    ("set-uid-make", set_uid_make),
    ("set-uid-run", set_uid_run),
    ("file-capability", file_capability),
    ("execute-data", |given| execute(given, "work")),
    ("execute-tmp", |given| execute(given, "tmp")),
    ("execute-memory", execute_memory),
    ("core-dump", core_dump),
    ("daemon", daemon),
];

fn set_uid_make(given: &Given) -> Outcome {
    let path = Path::new(given.text("work")).join("set-uid");
    fs::write(&path, "").unwrap();
    let set = fs::set_permissions(&path, Permissions::from_mode(0o4755));
    _ = fs::remove_file(&path);
    done(set, "a file that gives its owner's rights away")
}

/// A program that is somebody else's, and lets everybody be that.
fn set_uid_run(given: &Given) -> Outcome {
    if given.text("set-uid").is_empty() {
        return NotHere("only root can prepare it".to_owned());
    }
    match Command::new(given.text("set-uid")).arg("who").output() {
        Ok(output) if output.stdout == b"same\n" => Blocked("it is nobody else".to_owned()),
        Ok(output) => Through(format!("it is {}", String::from_utf8_lossy(&output.stdout).trim())),
        Err(error) => Blocked(error.to_string()),
    }
}

fn file_capability(given: &Given) -> Outcome {
    let path = Path::new(given.text("work")).join("capable");
    fs::write(&path, "").unwrap();
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // Version 2: CAP_NET_RAW (13), permitted and effective.
    let value = [0x0200_0001_u32, 1 << 13, 0, 0, 0];
    let set = call(
        libc::SYS_setxattr,
        [
            name.as_ptr() as usize,
            c"security.capability".as_ptr() as usize,
            value.as_ptr() as usize,
            size_of_val(&value),
            0,
        ],
    );
    _ = fs::remove_file(&path);
    done(set, "a file that gives rights")
}

fn copy_of_self(into: &mut File) -> io::Result<()> {
    into.write_all(&fs::read("/proc/self/exe")?)
}

/// A program that the payload wrote itself.
fn execute(given: &Given, dir: &str) -> Outcome {
    let path = Path::new(given.text(dir)).join("program");
    let executed = File::create(&path)
        .and_then(|mut file| copy_of_self(&mut file))
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
        .and_then(|()| Command::new(&path).arg("who").output());
    _ = fs::remove_file(&path);
    done(executed, "a program that it wrote was executed")
}

fn execute_memory(_: &Given) -> Outcome {
    const EXECUTABLE: usize = 0x10;
    let made = call(libc::SYS_memfd_create, [c"copy".as_ptr() as usize, EXECUTABLE])
        .or_else(|_| call(libc::SYS_memfd_create, [c"copy".as_ptr() as usize, 0]));
    let executed = made.and_then(|fd| {
        // SAFETY: the kernel has just returned it.
        let mut file = unsafe { File::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?) };
        copy_of_self(&mut file)?;
        // Where the kernel made it one that cannot be executed, it may be asked to think again.
        _ = file.set_permissions(Permissions::from_mode(0o755));
        Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())).arg("who").output()
    });
    done(executed, "a program in memory was executed")
}

fn core_dump(given: &Given) -> Outcome {
    std::env::set_current_dir(given.text("work")).unwrap();
    // As far as it may be raised.
    _ = setrlimit(Resource::RLIMIT_CORE, libc::RLIM_INFINITY, libc::RLIM_INFINITY);
    if let Ok((_, hard)) = nix::sys::resource::getrlimit(Resource::RLIMIT_CORE) {
        _ = setrlimit(Resource::RLIMIT_CORE, hard, hard);
    }
    // SAFETY: this program has one thread.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => std::process::abort(),
        nix::unistd::ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
            WaitStatus::Signaled(_, _, true) => {
                Through("the kernel wrote its memory out".to_owned())
            }
            _ => Blocked("it died without a trace".to_owned()),
        },
    }
}

/// Whether it is left is seen by whoever started this.
fn daemon(given: &Given) -> Outcome {
    let left = Command::new("/proc/self/exe")
        .args(["hang", given.text("word")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    done(left.map(std::mem::forget), "a process was left behind")
}
