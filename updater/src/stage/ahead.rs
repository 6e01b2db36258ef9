//! Decompresses in a thread of its own, while what came before is hashed and written.

use std::io::{self, Cursor, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// How much is read at once, and how many of these lie ready.
const CHUNK: usize = 256 << 10;
const READY: usize = 4;

/// Gives `take` a reader of the same bytes that another thread reads ahead.
pub(super) fn ahead<T>(reader: &mut (dyn Read + Send), take: impl FnOnce(&mut Ahead) -> T) -> T {
    thread::scope(|scope| {
        let (send, come) = mpsc::sync_channel(READY);
        scope.spawn(move || {
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = reader.read(&mut chunk).map(|read| {
                    chunk.truncate(read);
                    chunk
                });
                let last = !matches!(&read, Ok(chunk) if !chunk.is_empty());
                // Nobody wants more once the archive was refused.
                if send.send(read).is_err() || last {
                    return;
                }
            }
        });
        take(&mut Ahead { come, now: Cursor::new(Vec::new()) })
    })
}

/// What was read ahead.
pub(super) struct Ahead {
    come: Receiver<io::Result<Vec<u8>>>,
    now: Cursor<Vec<u8>>,
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.now.read(buffer)?;
        if read > 0 || buffer.is_empty() {
            return Ok(read);
        }
        // The end was sent as an empty piece; a thread that is gone sent it or an error before.
        self.now = match self.come.recv() {
            Ok(chunk) => Cursor::new(chunk?),
            Err(_) => return Ok(0),
        };
        self.now.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_errors_come_in_their_order_and_who_has_enough_may_leave() {
        struct Breaks(usize);
        impl Read for Breaks {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let broken = || io::Error::other("broken");
                self.0 = self.0.checked_sub(1).ok_or_else(broken)?;
                buffer[..1000].fill(7);
                Ok(1000)
            }
        }
        let mut bytes = Vec::new();
        let error = ahead(&mut Breaks(20), |ahead| ahead.read_to_end(&mut bytes)).unwrap_err();
        assert_eq!((error.to_string().as_str(), bytes.len()), ("broken", 20_000));
        let noise: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
        let mut read = Vec::new();
        ahead(&mut noise.as_slice(), |ahead| ahead.read_to_end(&mut read)).unwrap();
        assert!(read == noise);
        let first = ahead(&mut io::repeat(1), |ahead| {
            let mut first = [0; 3];
            ahead.read_exact(&mut first).map(|()| first)
        });
        assert_eq!(first.unwrap(), [1; 3]);
    }
}
