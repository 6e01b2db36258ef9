//! The values: how a change is written, and what all changes so far come to.
//!
//! ```text
//! schema 1: u8 kind (1 put, 2 delete) | u16 length of key | u32 length of value | key | value       (little endian)
//! schema 2: the same after a u64: when it was written, in milliseconds of Unix time; 0 is not known
//! ```

use std::collections::BTreeMap;

/// The longest key, in bytes.
pub(crate) const MAX_KEY: usize = 256;
/// The longest value, in bytes.
pub(crate) const MAX_VALUE: usize = 64 << 10;
/// The longest record, in bytes: both and the numbers before them.
pub(crate) const MAX_RECORD: usize = MAX_KEY + MAX_VALUE + 15;

/// One record: a change to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) change: Change,
    /// Unix time in milliseconds; 0 is not known. Schema 1 does not keep it.
    pub(crate) written_at: u64,
}

/// What happens to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(Vec<u8>),
    Delete,
}

impl Entry {
    /// Appends the record to a payload.
    pub(crate) fn encode(&self, schema: u32, payload: &mut Vec<u8>) {
        let (kind, value): (u8, &[u8]) = match &self.change {
            Change::Put(value) => (1, value),
            Change::Delete => (2, &[]),
        };
        debug_assert!(self.key.len() <= MAX_KEY && value.len() <= MAX_VALUE);
        if schema >= 2 {
            payload.extend_from_slice(&self.written_at.to_le_bytes());
        }
        payload.push(kind);
        payload.extend_from_slice(&(self.key.len() as u16).to_le_bytes());
        payload.extend_from_slice(&(value.len() as u32).to_le_bytes());
        payload.extend_from_slice(self.key.as_bytes());
        payload.extend_from_slice(value);
    }

    /// The records of a payload; `None` if it is not made of whole records of this schema.
    pub(crate) fn decode_all(schema: u32, mut payload: &[u8]) -> Option<Vec<Self>> {
        let mut entries = Vec::new();
        while !payload.is_empty() {
            entries.push(Self::decode(schema, &mut payload)?);
        }
        Some(entries)
    }

    fn decode(schema: u32, from: &mut &[u8]) -> Option<Self> {
        let written_at =
            if schema >= 2 { u64::from_le_bytes(*from.split_off(..8)?.first_chunk()?) } else { 0 };
        let [kind] = *from.split_off(..1)?.first_chunk()?;
        let key = u16::from_le_bytes(*from.split_off(..2)?.first_chunk()?);
        let value = u32::from_le_bytes(*from.split_off(..4)?.first_chunk()?);
        let key = String::from_utf8(from.split_off(..usize::from(key))?.to_vec()).ok()?;
        let value = from.split_off(..usize::try_from(value).ok()?)?;
        let change = match kind {
            1 => Change::Put(value.to_vec()),
            2 if value.is_empty() => Change::Delete,
            _ => return None,
        };
        Some(Self { key, change, written_at })
    }
}

/// A value as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) value: Vec<u8>,
    /// As in [`Entry`].
    pub(crate) written_at: u64,
}

/// All keys with their values, in memory; the log is the truth.
#[derive(Debug, Default)]
pub(crate) struct Values {
    map: BTreeMap<String, Stored>,
}

impl Values {
    pub(crate) fn apply(&mut self, entry: Entry) {
        match entry.change {
            Change::Put(value) => {
                self.map.insert(entry.key, Stored { value, written_at: entry.written_at });
            }
            Change::Delete => {
                self.map.remove(&entry.key);
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Stored> {
        self.map.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_own_schema_and_loses_only_its_time_in_the_older() {
        let put =
            Entry { key: "a.b".to_owned(), change: Change::Put(b"\0x".to_vec()), written_at: 7 };
        let gone = Entry { key: "a.b".to_owned(), change: Change::Delete, written_at: 8 };
        for (schema, times) in [(1, [0, 0]), (2, [7, 8])] {
            let mut payload = Vec::new();
            put.encode(schema, &mut payload);
            gone.encode(schema, &mut payload);
            let wanted = [
                Entry { written_at: times[0], ..put.clone() },
                Entry { written_at: times[1], ..gone.clone() },
            ];
            assert_eq!(Entry::decode_all(schema, &payload).unwrap(), wanted);
            let mut first = Vec::new();
            put.encode(schema, &mut first);
            for cut in (1..payload.len()).filter(|cut| *cut != first.len()) {
                assert_eq!(Entry::decode_all(schema, &payload[..cut]), None, "{schema} {cut}");
            }
        }
    }
}
