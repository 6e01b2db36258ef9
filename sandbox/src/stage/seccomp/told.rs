//! The filter that tells init of calls and lets them wait for its answer.
//!
//! The kernel takes the strictest answer of all filters, and refusing is stricter than telling: what init is to
//! hear of although it is refused, the strict filter must leave to init ([`LEFT`]), which refuses it with the
//! same error. Init judges registers, which the kernel copied and nobody can change behind its back, with the
//! strict filter's own program; when init is gone, a call that would be told of fails.

use libc::sock_filter;

use super::{ARGUMENTS, JEQ, LD, NUMBER, RET, call, calls, gate, load, op, rule};

/// Refused by init rather than by the strict filter, because they are attempts to be told.
pub(crate) const LEFT: &[i64] = &[libc::SYS_socket, libc::SYS_io_uring_setup];

/// Told whatever the arguments. `sendmsg` keeps its destination in memory, where a filter cannot look.
const ALWAYS: &[i64] = &[
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_io_uring_setup,
];

/// The one message that nobody is asked about: the listener's own passage to init.
pub(crate) struct Passage {
    /// The socket.
    pub(crate) descriptor: u32,
    /// Where the message lies. No program that is executed later can know it.
    pub(crate) message: u64,
}

/// Tells of what may reach somebody, and of these calls.
pub(crate) fn of_destinations(passage: &Passage, besides: &[i64]) -> Vec<sock_filter> {
    let mut code = gate();
    code.extend(exempt(passage));
    for number in ALWAYS.iter().chain(besides) {
        code.extend([op(JEQ, 0, 1, call(*number)), tell()]);
    }
    code.extend([
        /* 0 */ op(JEQ, 0, 6, call(libc::SYS_sendto)),
        // Without an address it goes where `connect` said.
        /* 1 */ load(4),
        /* 2 */ op(JEQ, 0, 2, 0),
        /* 3 */ op(LD, 0, 0, ARGUMENTS + 8 * 4 + 4),
        /* 4 */ op(JEQ, 1, 0, 0),
        /* 5 */ tell(),
        /* 6 */ op(LD, 0, 0, NUMBER),
    ]);
    for (number, _, conditions) in calls::sometimes() {
        if number == libc::SYS_socket {
            code.extend(rule(number, libc::SECCOMP_RET_USER_NOTIF, &conditions));
        }
    }
    code.push(op(RET, 0, 0, libc::SECCOMP_RET_ALLOW));
    code
}

/// Tells of everything, so that the strict filter is left to init as a whole.
pub(crate) fn of_everything(passage: &Passage) -> Vec<sock_filter> {
    let mut code = gate();
    code.extend(exempt(passage));
    code.push(tell());
    code
}

fn tell() -> sock_filter {
    op(RET, 0, 0, libc::SECCOMP_RET_USER_NOTIF)
}

fn exempt(passage: &Passage) -> [sock_filter; 9] {
    let half = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap_or_default();
    [
        /* 0 */ op(JEQ, 0, 8, call(libc::SYS_sendmsg)),
        /* 1 */ load(0),
        /* 2 */ op(JEQ, 0, 5, passage.descriptor),
        /* 3 */ load(1),
        /* 4 */ op(JEQ, 0, 3, half(passage.message)),
        /* 5 */ op(LD, 0, 0, ARGUMENTS + 8 + 4),
        /* 6 */ op(JEQ, 0, 1, half(passage.message >> 32)),
        /* 7 */ op(RET, 0, 0, libc::SECCOMP_RET_ALLOW),
        /* 8 */ op(LD, 0, 0, NUMBER),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::tests::data;
    use super::super::verdict;
    use super::*;

    const PASSAGE: Passage = Passage { descriptor: 600, message: 0x7fff_1234_5678_9abc };

    #[test]
    fn only_calls_with_a_destination_are_told() {
        let code = of_destinations(&PASSAGE, &[libc::SYS_uname]);
        let told = libc::SECCOMP_RET_USER_NOTIF;
        let passes = libc::SECCOMP_RET_ALLOW;
        for (number, arguments, wanted) in [
            (libc::SYS_connect, [0; 6], told),
            (libc::SYS_sendto, [3, 1, 1, 0, 0, 0], passes),
            (libc::SYS_sendto, [3, 1, 1, 0, 1 << 40, 16], told),
            (libc::SYS_sendto, [3, 1, 1, 0, 7, 16], told),
            (libc::SYS_sendmsg, [600, PASSAGE.message, 0, 0, 0, 0], passes),
            (libc::SYS_sendmsg, [600, PASSAGE.message & 0xffff_ffff, 0, 0, 0, 0], told),
            (libc::SYS_sendmsg, [601, PASSAGE.message, 0, 0, 0, 0], told),
            (libc::SYS_socket, [2, 1, 0, 0, 0, 0], passes),
            (libc::SYS_socket, [2, 3, 0, 0, 0, 0], told),
            (libc::SYS_socket, [40, 1, 0, 0, 0, 0], told),
            (libc::SYS_io_uring_setup, [0; 6], told),
            (libc::SYS_uname, [0; 6], told),
            (libc::SYS_read, [0; 6], passes),
        ] {
            assert_eq!(verdict(&code, &data(number, arguments)), wanted, "{number} {arguments:?}");
        }
    }

    #[test]
    fn what_is_left_to_init_is_told_to_it_and_refused_by_nobody_else() {
        let strict = super::super::leaving(LEFT);
        let told = of_destinations(&PASSAGE, &[]);
        for (number, arguments) in [
            (libc::SYS_socket, [17, 3, 0, 0, 0, 0]),
            (libc::SYS_socket, [10, 3, 0, 0, 0, 0]),
            (libc::SYS_socket, [2, 10, 0, 0, 0, 0]),
            (libc::SYS_io_uring_setup, [0; 6]),
        ] {
            let call = data(number, arguments);
            assert_eq!(verdict(&strict, &call), libc::SECCOMP_RET_ALLOW);
            assert_eq!(verdict(&told, &call), libc::SECCOMP_RET_USER_NOTIF);
            let whole = verdict(&super::super::filter(), &call);
            assert_eq!(whole & libc::SECCOMP_RET_ACTION_FULL, libc::SECCOMP_RET_ERRNO);
        }
        let call = data(libc::SYS_ptrace, [0; 6]);
        assert_eq!(verdict(&strict, &call), libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs());
    }
}
