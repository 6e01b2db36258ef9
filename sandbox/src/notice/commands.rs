//! Command lines with a word that somebody wants to know of.

use std::io;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::memory::Memory;

/// Most bytes of a command line that are looked through, and most words.
const MAX_LINE: usize = 256 << 10;
/// Most lines that are told.
const MAX_TOLD: usize = 8;
/// Most characters of one.
const MAX_SHOWN: usize = 160;

/// What is looked for, and what was seen.
#[derive(Debug)]
pub(super) struct Commands {
    endings: Vec<String>,
    pub(super) seen: Vec<String>,
}

impl Commands {
    pub(super) fn new(endings: Vec<String>) -> Self {
        Self { endings, seen: Vec::new() }
    }

    /// Looks at the words, listed at `pointer`, with which `thread` is about to execute a program.
    pub(super) fn look(&mut self, thread: Pid, pointer: u64) -> io::Result<()> {
        if !self.endings.is_empty() && self.seen.len() < MAX_TOLD {
            self.take(&words(thread, pointer)?);
        }
        Ok(())
    }

    fn take(&mut self, words: &[Vec<u8>]) {
        let is_told =
            |word: &Vec<u8>| self.endings.iter().any(|ending| word.ends_with(ending.as_bytes()));
        if !words.iter().any(is_told) {
            return;
        }
        let text = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
        let text: String = text.chars().take(MAX_SHOWN).collect();
        if !self.seen.contains(&text) {
            self.seen.push(text);
        }
    }
}

/// The words of a command line, or as many of them as are looked through.
fn words(thread: Pid, pointer: u64) -> io::Result<Vec<Vec<u8>>> {
    let (mut list, mut texts) = (Memory::of(thread), Memory::of(thread));
    let (mut words, mut left) = (Vec::new(), MAX_LINE);
    while pointer != 0 && left > 0 {
        let place = pointer.checked_add(8 * words.len() as u64).ok_or(Errno::EFAULT)?;
        let word = list.word(place)?;
        if word == 0 {
            break;
        }
        let text = texts.text(word, left)?;
        left = left.saturating_sub(text.len() + 1);
        words.push(text);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_once_and_only_with_the_word() {
        let mut commands = Commands::new(vec!["-march=native".to_owned()]);
        for line in [
            "cc -O2 a.c",
            "cc -march=native a.c",
            "cc -march=native a.c",
            "echo -march=native-or-not",
        ] {
            let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.into()).collect();
            commands.take(&words);
        }
        assert_eq!(commands.seen, ["cc -march=native a.c"]);
    }

    #[test]
    fn the_words_of_a_command_are_read_from_its_memory() {
        let texts: Vec<std::ffi::CString> =
            (0..700).map(|n| std::ffi::CString::new(format!("word-{n}")).unwrap()).collect();
        let mut list: Vec<u64> = texts.iter().map(|text| text.as_ptr().addr() as u64).collect();
        list.push(0);
        let own = Pid::this();
        let read = words(own, list.as_ptr().addr() as u64).unwrap();
        assert_eq!(read.len(), 700);
        assert_eq!(read[699], b"word-699");
        assert!(words(own, 1).is_err());
        assert!(words(own, 0).unwrap().is_empty());
    }
}
