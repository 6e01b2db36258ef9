//! Copies of live connections on their way to the agent: frames over a Unix socket of this machine.
//!
//! ```text
//! kind u8 | way u8 | connection u64 | microseconds since the tee began u64 | length u32 | that many bytes     little-endian
//! ```

use std::io::{self, Read};
use std::time::Duration;

/// The frames that this code writes and reads.
pub(crate) const FORMAT: u8 = 1;

/// Longest payload, in bytes.
pub(crate) const LONGEST: usize = 64 << 10;

/// Bytes before the payload.
pub(crate) const HEAD: usize = 22;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client.
    ToNode,
    /// From the node.
    ToClient,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The first of all: the tee listens.
    Hello,
    /// A connection begins, at the socket of this name.
    Open(String),
    /// Bytes that were read.
    Bytes(Way, Vec<u8>),
    /// No more bytes come this way.
    End(Way),
    /// The connection ended abruptly.
    Gone,
    /// Nothing more is copied of this connection.
    Lost,
    /// So far: connections taken, and those of them whose copies were dropped.
    Counts(u64, u64),
    /// Why there is no mirroring, to a person.
    Trouble(String),
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) connection: u64,
    /// Since the tee began.
    pub(crate) at: Duration,
    pub(crate) what: What,
}

impl Way {
    fn number(self) -> u8 {
        match self {
            Self::ToNode => 0,
            Self::ToClient => 1,
        }
    }
}

/// Writes a frame. Only the copies themselves are long; they are passed by reference.
pub(crate) fn write(
    to: &mut impl Extend<u8>,
    kind: (u8, u8),
    connection: u64,
    at: Duration,
    payload: &[u8],
) {
    let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
    let payload = &payload[..payload.len().min(LONGEST)];
    to.extend([kind.0, kind.1]);
    to.extend(connection.to_le_bytes());
    to.extend(at.to_le_bytes());
    to.extend(u32::try_from(payload.len()).unwrap_or_default().to_le_bytes());
    to.extend(payload.iter().copied());
}

impl What {
    /// Kind, way and payload, as written.
    pub(crate) fn parts(&self) -> ((u8, u8), Vec<u8>) {
        match self {
            Self::Hello => ((0, FORMAT), Vec::new()),
            Self::Open(name) => ((1, 0), name.clone().into_bytes()),
            Self::Bytes(way, bytes) => (Self::bytes(*way), bytes.clone()),
            Self::End(way) => ((3, way.number()), Vec::new()),
            Self::Gone => ((4, 0), Vec::new()),
            Self::Lost => ((5, 0), Vec::new()),
            Self::Counts(taken, lost) => {
                ((6, 0), [taken.to_le_bytes(), lost.to_le_bytes()].concat())
            }
            Self::Trouble(text) => ((7, 0), text.clone().into_bytes()),
        }
    }

    /// Kind and way of [`What::Bytes`].
    pub(crate) fn bytes(way: Way) -> (u8, u8) {
        (2, way.number())
    }

    fn read(kind: (u8, u8), payload: Vec<u8>) -> Option<Self> {
        let way = if kind.1 == 0 { Way::ToNode } else { Way::ToClient };
        let text = |payload| String::from_utf8(payload).ok();
        Some(match kind.0 {
            0 if kind.1 == FORMAT => Self::Hello,
            1 => Self::Open(text(payload)?),
            2 => Self::Bytes(way, payload),
            3 => Self::End(way),
            4 => Self::Gone,
            5 => Self::Lost,
            6 => {
                let (taken, lost) = payload.split_first_chunk::<8>()?;
                let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
                Self::Counts(number(taken)?, number(lost)?)
            }
            7 => Self::Trouble(text(payload)?),
            _ => return None,
        })
    }
}

/// Reads the next frame; `None` at the end.
///
/// # Errors
/// Reading failed, or something else came.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD];
    match from.read(&mut head[..1])? {
        0 => return Ok(None),
        _ => from.read_exact(&mut head[1..])?,
    }
    let number = |range: std::ops::Range<usize>| {
        head[range].iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let length = usize::try_from(number(18..22)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload)?;
    let what = What::read((head[0], head[1]), payload);
    let what = what.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let at = Duration::from_micros(number(10..18));
    Ok(Some(Frame { connection: number(2..10), at, what }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_is_read_as_it_was_written_and_nonsense_is_refused() {
        let all = [
            What::Hello,
            What::Open("http".to_owned()),
            What::Bytes(Way::ToNode, vec![7; LONGEST]),
            What::Bytes(Way::ToClient, Vec::new()),
            What::End(Way::ToClient),
            What::Gone,
            What::Lost,
            What::Counts(u64::MAX, 3),
            What::Trouble("it is taken".to_owned()),
        ];
        let mut bytes = Vec::new();
        let at = Duration::from_micros(1 << 40);
        for what in &all {
            let (kind, payload) = what.parts();
            write(&mut bytes, kind, 1 << 50, at, &payload);
        }
        let mut from = bytes.as_slice();
        for what in all {
            assert_eq!(read(&mut from).unwrap(), Some(Frame { connection: 1 << 50, at, what }));
        }
        assert_eq!(read(&mut from).unwrap(), None);
        assert!(read(&mut &bytes[..HEAD - 1]).is_err());
        assert!(read(&mut [0xff; HEAD].as_slice()).is_err());
    }
}
