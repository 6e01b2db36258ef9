//! Command lines with a word that somebody wants to know of.

use std::fs::File;
use std::io::Read;

use nix::unistd::Pid;

/// Most bytes of a command line that are looked through.
const MAX_LINE: u64 = 256 << 10;
/// Most lines that are told.
const MAX_TOLD: usize = 8;
/// Most characters of one.
const MAX_SHOWN: usize = 160;

/// What is looked for, and what was seen.
#[derive(Debug)]
pub(super) struct Watch {
    endings: Vec<String>,
    pub(super) seen: Vec<String>,
}

impl Watch {
    pub(super) fn new(endings: Vec<String>) -> Self {
        Self { endings, seen: Vec::new() }
    }

    /// Looks at the program that `pid` has just executed.
    pub(super) fn look(&mut self, pid: Pid) {
        if self.endings.is_empty() || self.seen.len() >= MAX_TOLD {
            return;
        }
        let Ok(file) = File::open(format!("/proc/{pid}/cmdline")) else { return };
        let mut line = Vec::new();
        if file.take(MAX_LINE).read_to_end(&mut line).is_ok() {
            self.take(&line);
        }
    }

    fn take(&mut self, line: &[u8]) {
        let mut words = line.split(|byte| *byte == 0);
        let found =
            words.any(|word| self.endings.iter().any(|ending| word.ends_with(ending.as_bytes())));
        if !found {
            return;
        }
        let text = String::from_utf8_lossy(line).trim_end_matches('\0').replace('\0', " ");
        let text: String = text.chars().take(MAX_SHOWN).collect();
        if !self.seen.contains(&text) {
            self.seen.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_once_and_only_with_the_word() {
        let mut watch = Watch::new(vec!["-march=native".to_owned()]);
        watch.take(b"cc\0-O2\0a.c\0");
        watch.take(b"cc\0-march=native\0a.c\0");
        watch.take(b"cc\0-march=native\0a.c\0");
        watch.take(b"echo\0-march=native-or-not\0");
        assert_eq!(watch.seen, ["cc -march=native a.c"]);
    }
}
