//! The census: which system calls were used, by name.

use std::collections::BTreeSet;

use syscalls::Sysno;

/// The numbers seen so far.
#[derive(Debug, Default)]
pub(super) struct Census(BTreeSet<i32>);

impl Census {
    pub(super) fn note(&mut self, number: i32) {
        // Made by the kernel itself where a signal came at the right moment: says nothing of the program.
        if i64::from(number) != libc::SYS_restart_syscall {
            self.0.insert(number);
        }
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        self.0.iter().copied().map(name).collect()
    }
}

/// The name of a call, or its number where no list has it.
fn name(number: i32) -> String {
    usize::try_from(number)
        .ok()
        .and_then(Sysno::new)
        .map_or_else(|| format!("call {number}"), |known| known.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_their_names_and_new_ones_their_numbers() {
        let mut census = Census::default();
        for number in [libc::SYS_openat, libc::SYS_openat, libc::SYS_restart_syscall, 9999] {
            census.note(i32::try_from(number).unwrap());
        }
        assert_eq!(census.names(), BTreeSet::from(["openat".to_owned(), "call 9999".to_owned()]));
    }
}
