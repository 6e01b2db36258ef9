//! The system calls that a payload does not have, as one filter of classic BPF.
//!
//! A list of what is refused, with a ceiling: calls newer than [`LAST_KNOWN`] do not exist inside, so no
//! kernel brings an unread one. Why not an allow-list? Payloads are arbitrary compilers and servers; a
//! missing harmless call breaks them in ways nobody can explain.

mod calls;
mod machine;
pub(crate) mod told;

use libc::sock_filter;

pub(crate) use self::machine::verdict;

use self::calls::When::{self, Any, High, Is, IsNot, Masked};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// `mseal`, Linux 6.10: the newest call that this file's author has read about.
const LAST_KNOWN: u32 = 462;

const LD: u16 = 0x20;
const AND: u16 = 0x54;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const RET: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The filter.
pub(crate) fn filter() -> Vec<sock_filter> {
    leaving(&[])
}

/// The filter without what it says to these calls: somebody else refuses them.
pub(crate) fn leaving(left: &[i64]) -> Vec<sock_filter> {
    let mut code = gate();
    code.extend([op(JGT, 0, 1, LAST_KNOWN), op(RET, 0, 0, errno(libc::ENOSYS))]);
    let ours = |number: &i64| !left.contains(number);
    for number in calls::NEVER.iter().copied().filter(ours) {
        code.extend([op(JEQ, 0, 1, call(number)), op(RET, 0, 0, errno(libc::EPERM))]);
    }
    for number in calls::ABSENT.iter().copied().filter(ours) {
        code.extend([op(JEQ, 0, 1, call(number)), op(RET, 0, 0, errno(libc::ENOSYS))]);
    }
    for (number, error, conditions) in calls::sometimes().into_iter().chain(calls::sometimes_here())
    {
        if ours(&number) {
            code.extend(rule(number, errno(error), &conditions));
        }
    }
    code.push(op(RET, 0, 0, libc::SECCOMP_RET_ALLOW));
    code
}

/// Calls of another architecture kill; of this one, the number is left in the accumulator.
fn gate() -> Vec<sock_filter> {
    let architecture = [
        op(LD, 0, 0, ARCH),
        op(JEQ, 1, 0, ARCHITECTURE),
        op(RET, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        op(LD, 0, 0, NUMBER),
    ];
    // x32 has the same architecture and other numbers.
    let x32 = [op(JGT, 0, 1, 0x3fff_ffff), op(RET, 0, 0, libc::SECCOMP_RET_KILL_PROCESS)];
    let numbers = if cfg!(target_arch = "x86_64") { x32.as_slice() } else { &[] };
    [architecture.as_slice(), numbers].concat()
}

/// A filter of its own, beside the other: memory that could be executed is not there.
pub(crate) fn no_programs_in_memory() -> Vec<sock_filter> {
    const NOEXEC_SEAL: u32 = 8;
    let mut code = vec![op(LD, 0, 0, NUMBER)];
    let unsealed = [Masked(1, NOEXEC_SEAL, 0)];
    code.extend(rule(libc::SYS_memfd_create, errno(libc::ENOSYS), &unsealed));
    code.push(op(RET, 0, 0, libc::SECCOMP_RET_ALLOW));
    code
}

/// The code of one conditional rule; it leaves the call's number in the accumulator.
fn rule(number: i64, action: u32, conditions: &[When]) -> Vec<sock_filter> {
    let mut body = Vec::new();
    // From the last condition to the first, because each jumps over all that follows it.
    let mut rest = vec![op(RET, 0, 0, action)];
    for condition in conditions.iter().rev() {
        let over = u8::try_from(rest.len()).unwrap_or(u8::MAX);
        let mut step = match *condition {
            Is(argument, value) => vec![load(argument), op(JEQ, 0, over, value)],
            IsNot(argument, value) => vec![load(argument), op(JEQ, over, 0, value)],
            Any(argument, mask) => vec![load(argument), op(AND, 0, 0, mask), op(JEQ, over, 0, 0)],
            Masked(argument, mask, value) => {
                vec![load(argument), op(AND, 0, 0, mask), op(JEQ, 0, over, value)]
            }
            High(argument) => vec![op(LD, 0, 0, ARGUMENTS + 8 * argument + 4), op(JEQ, over, 0, 0)],
        };
        step.append(&mut rest);
        rest = step;
    }
    rest.push(op(LD, 0, 0, NUMBER));
    let over = u8::try_from(rest.len()).unwrap_or(u8::MAX);
    body.push(op(JEQ, 0, over, call(number)));
    body.append(&mut rest);
    body
}

fn load(argument: u32) -> sock_filter {
    op(LD, 0, 0, ARGUMENTS + 8 * argument)
}

fn op(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn call(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn errno(error: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | error.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call as the kernel shows it to filters.
    pub(super) fn data(number: i64, args: [u64; 6]) -> libc::seccomp_data {
        let nr = i32::try_from(number).unwrap();
        libc::seccomp_data { nr, arch: ARCHITECTURE, instruction_pointer: 0, args }
    }

    fn verdict(number: i64, arguments: [u64; 6]) -> u32 {
        super::verdict(&filter(), &data(number, arguments))
    }

    #[test]
    fn ordinary_calls_pass() {
        for (number, arguments) in [
            (libc::SYS_read, [0; 6]),
            (libc::SYS_socket, [2, 1, 0, 0, 0, 0]),
            (libc::SYS_socket, [1, 3, 0, 0, 0, 0]),
            (libc::SYS_openat, [0, 0, 0, 0o6755, 0, 0]),
            (libc::SYS_openat, [0, 0, 0o101, 0o755, 0, 0]),
            (libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
            (libc::SYS_prlimit64, [0, 7, 0x7fff_0000, 0, 0, 0]),
            (libc::SYS_prlimit64, [1, 7, 0, 0x7fff_0000, 0, 0]),
        ] {
            assert_eq!(verdict(number, arguments), libc::SECCOMP_RET_ALLOW, "{number}");
        }
    }

    #[test]
    fn dangerous_arguments_do_not_pass() {
        for (number, arguments, error) in [
            (libc::SYS_ptrace, [0; 6], libc::EPERM),
            (libc::SYS_clone3, [0; 6], libc::ENOSYS),
            (500, [0; 6], libc::ENOSYS),
            (libc::SYS_socket, [40, 1, 0, 0, 0, 0], libc::EAFNOSUPPORT),
            (libc::SYS_socket, [2, 3 | 0o2_000_000, 0, 0, 0, 0], libc::EPERM),
            (libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0], libc::EPERM),
            (libc::SYS_openat, [0, 0, 0o101, 0o4755, 0, 0], libc::EPERM),
            (libc::SYS_ioctl, [0, 0xffff_ffff_0000_5412, 0, 0, 0, 0], libc::EPERM),
            (libc::SYS_prlimit64, [1, 7, 0x7f_0000_0000, 0, 0, 0], libc::EPERM),
            (libc::SYS_personality, [0x40_0000, 0, 0, 0, 0, 0], libc::EPERM),
        ] {
            assert_eq!(verdict(number, arguments), errno(error), "{number}");
        }
    }
}
