//! The system call in which a tracee is stopped, in the registers of each architecture.

use std::io;

use nix::sys::ptrace;
use nix::unistd::Pid;

/// A tracee's registers at a system call's stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pid: Pid,
    registers: libc::user_regs_struct,
}

impl Call {
    /// Reads the registers of `pid`, which is stopped.
    pub(super) fn read(pid: Pid) -> io::Result<Self> {
        Ok(Self { pid, registers: ptrace::getregs(pid)? })
    }

    /// Whose call it is.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Changes one argument, counted from 0.
    pub(super) fn set_argument(&mut self, index: usize, value: u64) -> io::Result<()> {
        *self.argument_mut(index) = value;
        Ok(ptrace::setregs(self.pid, self.registers)?)
    }
}

#[cfg(target_arch = "x86_64")]
impl Call {
    /// The system call's number.
    pub(super) fn number(&self) -> i64 {
        self.registers.orig_rax as i64
    }

    /// The argument with this index, counted from 0.
    pub(super) fn argument(&self, index: usize) -> u64 {
        let r = &self.registers;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9][index]
    }

    fn argument_mut(&mut self, index: usize) -> &mut u64 {
        let r = &mut self.registers;
        [&mut r.rdi, &mut r.rsi, &mut r.rdx, &mut r.r10, &mut r.r8, &mut r.r9][index]
    }

    /// The stack pointer.
    pub(super) fn stack(&self) -> u64 {
        self.registers.rsp
    }

    /// Makes the kernel skip the call and the tracee see `value` as its result.
    pub(super) fn skip(mut self, value: i64) -> io::Result<()> {
        // There is no system call -1. This is also the one change that vsyscall emulation accepts.
        self.registers.orig_rax = u64::MAX;
        self.registers.rax = value as u64;
        Ok(ptrace::setregs(self.pid, self.registers)?)
    }
}

#[cfg(target_arch = "aarch64")]
impl Call {
    /// The system call's number.
    pub(super) fn number(&self) -> i64 {
        self.registers.regs[8] as i64
    }

    /// The argument with this index, counted from 0.
    pub(super) fn argument(&self, index: usize) -> u64 {
        self.registers.regs[index]
    }

    fn argument_mut(&mut self, index: usize) -> &mut u64 {
        &mut self.registers.regs[index]
    }

    /// The stack pointer.
    pub(super) fn stack(&self) -> u64 {
        self.registers.sp
    }

    /// Makes the kernel skip the call and the tracee see `value` as its result.
    pub(super) fn skip(mut self, value: i64) -> io::Result<()> {
        // `NT_ARM_SYSTEM_CALL` of linux/elf.h. The number that the kernel obeys is not in x8, which
        // is only where the program put it.
        const SYSTEM_CALL: usize = 0x404;
        let mut none: libc::c_int = -1;
        let set = libc::iovec { iov_base: (&raw mut none).cast(), iov_len: size_of_val(&none) };
        // SAFETY: the request reads the iovec and the integer that it points to, both of which live
        // until the call returns, and touches no other memory of ours.
        let result = unsafe {
            libc::ptrace(
                libc::PTRACE_SETREGSET,
                self.pid.as_raw(),
                std::ptr::without_provenance_mut::<libc::c_void>(SYSTEM_CALL),
                (&raw const set).cast::<libc::c_void>(),
            )
        };
        nix::errno::Errno::result(result)?;
        self.registers.regs[0] = value as u64;
        Ok(ptrace::setregs(self.pid, self.registers)?)
    }
}
