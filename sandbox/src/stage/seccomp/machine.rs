//! The kernel's machine for filters, again: what a filter says to a call, for those who must know it here.

use libc::{seccomp_data, sock_filter};

use super::{AND, ARCH, ARGUMENTS, JEQ, JGT, LD, NUMBER, RET};

/// What `code` says to `call`. A program that this machine does not understand kills.
pub(crate) fn verdict(code: &[sock_filter], call: &seccomp_data) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    while let Some(step) = code.get(at) {
        let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
        at += 1;
        match step.code {
            LD => match word(call, step.k) {
                Some(word) => accumulator = word,
                None => break,
            },
            AND => accumulator &= step.k,
            JEQ => at += jump(accumulator == step.k),
            JGT => at += jump(accumulator > step.k),
            RET => return step.k,
            _ => break,
        }
    }
    libc::SECCOMP_RET_KILL_PROCESS
}

/// A word of `struct seccomp_data`, whose middle nobody asks for: the address of the call.
fn word(call: &seccomp_data, at: u32) -> Option<u32> {
    if at == NUMBER {
        return Some(call.nr.cast_unsigned());
    }
    if at == ARCH {
        return Some(call.arch);
    }
    let index = at.checked_sub(ARGUMENTS)?;
    let argument = call.args.get(usize::try_from(index / 8).ok()?)?;
    // Both targets are little endian.
    let half = if index % 8 == 0 { *argument } else { argument >> 32 };
    u32::try_from(half & 0xffff_ffff).ok()
}
