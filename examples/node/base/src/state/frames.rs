//! The log's frames: what was committed by one fsync is one frame, there as a whole or not at all.
//!
//! ```text
//! u32 length of the payload | u32 CRC-32 of these four bytes | u32 CRC-32 of the payload | payload     (little endian)
//! ```
//!
//! A frame is written only after the one before it is on disk. So only the last frame can be unfinished, and
//! nothing in an unfinished frame was ever acknowledged; any other damage is refused.

use std::fs::File;
use std::io::{self, BufReader, Read};

use crate::failure::{Failure, INPUT, OrFail, Outcome};

const HEADER: usize = 12;

/// The largest payload, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 1 << 20;

/// A frame around `payload`, which holds at most [`MAX_PAYLOAD`] bytes.
pub(crate) fn seal(payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() <= MAX_PAYLOAD);
    let length = (payload.len() as u32).to_le_bytes();
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&length);
    frame.extend_from_slice(&crc32fast::hash(&length).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// What comes next in a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// An intact frame's payload.
    Frame(Vec<u8>),
    /// The end, right after an intact frame.
    End,
    /// The end, after so many bytes of a frame that was never finished.
    Unfinished(u64),
}

/// Reads frames from the beginning of a log to where it ended when it was opened.
pub(crate) struct Frames {
    reader: BufReader<io::Take<File>>,
    at: u64,
    length: u64,
    name: String,
}

impl Frames {
    /// `name` is for messages.
    pub(crate) fn new(file: File, name: String) -> Outcome<Self> {
        let length = file.metadata().or_fail(format_args!("read {name}"))?.len();
        Ok(Self { reader: BufReader::new(file.take(length)), at: 0, length, name })
    }

    /// How many bytes of intact frames were read.
    pub(crate) fn intact(&self) -> u64 {
        self.at
    }

    /// Reads on.
    pub(crate) fn advance(&mut self) -> Outcome<Next> {
        let left = self.length - self.at;
        if left == 0 {
            return Ok(Next::End);
        }
        if left < HEADER as u64 {
            return Ok(Next::Unfinished(left));
        }
        let mut header = [0; HEADER];
        self.fill(&mut header)?;
        let [length, check, sum] = words(header);
        if crc32fast::hash(&length.to_le_bytes()) != check || length as usize > MAX_PAYLOAD {
            // A file that grew before its bytes arrived reads as zeros; a header of other bytes was there once.
            let unfinished = header == [0; HEADER] && self.only_zeros_follow()?;
            return if unfinished { Ok(Next::Unfinished(left)) } else { Err(self.damaged()) };
        }
        let end = HEADER as u64 + u64::from(length);
        if left < end {
            return Ok(Next::Unfinished(left));
        }
        let mut payload = vec![0; length as usize];
        self.fill(&mut payload)?;
        if crc32fast::hash(&payload) != sum {
            return if left == end { Ok(Next::Unfinished(left)) } else { Err(self.damaged()) };
        }
        self.at += end;
        Ok(Next::Frame(payload))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        self.reader.read_exact(buffer).or_fail(format_args!("read {}", self.name))
    }

    fn only_zeros_follow(&mut self) -> Outcome<bool> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).or_fail(format_args!("read {}", self.name))?;
        Ok(rest.iter().all(|byte| *byte == 0))
    }

    fn damaged(&self) -> Failure {
        Failure::new(
            INPUT,
            format!(
                "{} is damaged at byte {} of {}; nothing was changed, and a copy of the state from before the \
                 damage can be served instead",
                self.name, self.at, self.length
            ),
        )
    }
}

fn words(header: [u8; HEADER]) -> [u32; 3] {
    let word =
        |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
    [word(0), word(4), word(8)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, Write};

    fn read(bytes: &[u8]) -> Outcome<Vec<Next>> {
        let path = std::env::temp_dir().join(format!(
            "examplenode-frames-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut file =
            File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let mut frames = Frames::new(file, "log".to_owned()).unwrap();
        let mut seen = Vec::new();
        loop {
            let next = frames.advance()?;
            let last = !matches!(next, Next::Frame(_));
            seen.push(next);
            if last {
                return Ok(seen);
            }
        }
    }

    #[test]
    fn a_log_cut_anywhere_in_its_last_frame_keeps_the_frames_before() {
        let first = seal(b"first");
        let whole = [first.clone(), seal(b"second")].concat();
        assert_eq!(
            read(&whole).unwrap(),
            [Next::Frame(b"first".into()), Next::Frame(b"second".into()), Next::End]
        );
        for cut in first.len() + 1..whole.len() {
            let left = (cut - first.len()) as u64;
            let seen = read(&whole[..cut]).unwrap();
            assert_eq!(seen, [Next::Frame(b"first".into()), Next::Unfinished(left)], "{cut}");
        }
    }

    #[test]
    fn zeros_and_a_wrong_sum_at_the_end_are_an_unfinished_frame() {
        let zeros = [seal(b"first"), vec![0; 40]].concat();
        assert_eq!(read(&zeros).unwrap()[1], Next::Unfinished(40));
        let mut wrong = [seal(b"first"), seal(b"second")].concat();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(read(&wrong).unwrap()[1], Next::Unfinished(18));
    }

    #[test]
    fn a_flipped_bit_before_the_last_frame_is_refused_wherever_it_is() {
        let whole = [seal(b"first"), seal(b"second")].concat();
        for at in 0..seal(b"first").len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            assert!(read(&bytes).is_err(), "byte {at}");
        }
    }
}
