//! What the library reads and writes through: names of objects, the fence before each write, the first trouble kept.

use std::sync::Arc;

use bytes::Bytes;
use rustic_core::{
    BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend,
};

use super::{MAX_OBJECT, Trouble};
use crate::BackupError;
use crate::owner::Session;
use crate::store::{Store, StoreError};

/// One store, seen by one session.
pub(super) struct Door {
    pub(super) store: Arc<dyn Store>,
    /// Without one nothing is written.
    pub(super) session: Option<Session>,
    pub(super) trouble: Trouble,
}

fn path(kind: FileType, id: &Id) -> String {
    let name = id.to_hex();
    match kind {
        FileType::Config => "config".to_owned(),
        FileType::Pack => format!("data/{}/{}", &name.as_str()[..2], name.as_str()),
        _ => format!("{}/{}", kind.dirname(), name.as_str()),
    }
}

impl Door {
    fn done<T>(&self, result: Result<T, BackupError>) -> RusticResult<T> {
        result.map_err(|error| {
            let told = error.to_string();
            self.trouble.note(error);
            RusticError::new(ErrorKind::Backend, told)
        })
    }

    fn may_write(&self) -> Result<(), BackupError> {
        match &self.session {
            Some(session) => Ok(session.holds(&*self.store)?),
            None => Err(self.unwritable()),
        }
    }

    fn unwritable(&self) -> BackupError {
        BackupError::Repository {
            what: "write",
            place: self.store.place().to_owned(),
            reason: "it was opened to read".to_owned(),
        }
    }

    fn write(&self, kind: FileType, id: &Id, content: BytesList) -> Result<(), BackupError> {
        if kind == FileType::Snapshot && self.trouble.is_there() {
            return Err(BackupError::Repository {
                what: "name a snapshot in",
                place: self.store.place().to_owned(),
                reason: "what it is made of is not whole".to_owned(),
            });
        }
        self.may_write()?;
        let mut bytes = Vec::with_capacity(content.size());
        content.into_vec().iter().for_each(|part| bytes.extend_from_slice(part));
        Ok(self.store.put(&path(kind, id), &bytes)?)
    }

    fn read(&self, kind: FileType, id: &Id) -> Result<Bytes, BackupError> {
        let path = path(kind, id);
        let bytes = self.store.get(&path, MAX_OBJECT)?;
        let place = || self.store.place().to_owned();
        Ok(bytes.ok_or_else(|| StoreError::Missing { place: place(), path })?.into())
    }

    fn list(&self, kind: FileType) -> Result<Vec<(Id, u32)>, BackupError> {
        if kind == FileType::Config {
            let config = self.store.get("config", MAX_OBJECT)?;
            return Ok(config
                .map(|c| (Id::default(), length(c.len() as u64)))
                .into_iter()
                .collect());
        }
        let entries = self.store.list(kind.dirname())?;
        let named = entries.into_iter().filter_map(|entry| {
            let id = entry.path.rsplit('/').next()?.parse::<Id>().ok()?;
            (path(kind, &id) == entry.path).then_some((id, length(entry.size)))
        });
        Ok(named.collect())
    }
}

fn length(bytes: u64) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl ReadBackend for Door {
    fn location(&self) -> String {
        self.store.place().to_owned()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        self.done(self.list(kind))
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        self.done(self.read(kind, id))
    }

    fn read_partial(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        offset: u32,
        length: u32,
    ) -> RusticResult<Bytes> {
        let part = self.store.part(&path(kind, id), u64::from(offset), u64::from(length));
        self.done(part.map(Bytes::from).map_err(BackupError::from))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        path(kind, id)
    }
}

impl WriteBackend for Door {
    fn write_bytes(
        &self,
        kind: FileType,
        id: &Id,
        _cacheable: bool,
        content: BytesList,
    ) -> RusticResult<()> {
        self.done(self.write(kind, id, content))
    }

    fn remove(&self, kind: FileType, id: &Id, _cacheable: bool) -> RusticResult<()> {
        let removed = self.may_write().and_then(|()| Ok(self.store.remove(&path(kind, id))?));
        self.done(removed)
    }
}
