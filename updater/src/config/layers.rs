//! What was written, in several files: the main one and its drop-ins, merged key by key, each value with its place.
//!
//! ```text
//! NODE/countersign-updater.toml        first
//! NODE/countersign-updater.d/*.toml    then these, in the order of their names: a later value replaces an earlier one
//! ```
//!
//! Tables are merged, everything else (lists too) is replaced as a whole. A place in any of the files is one number: the
//! files lie behind one another.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigError;
use crate::Home;
use crate::durable::{self, DiskError, OnDisk};

/// Longest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// So many drop-ins are read.
const MAX_DROP_INS: usize = 256;

/// One file, as written.
pub(super) struct Layer {
    pub(super) file: PathBuf,
    pub(super) text: String,
    /// Where it begins in the one space of places.
    start: usize,
}

/// The files of a node, in the order in which they count.
pub(super) struct Layers(Vec<Layer>);

impl Layers {
    /// One text and nothing else.
    pub(super) fn one(text: &str, file: PathBuf) -> Self {
        Self(vec![Layer { file, text: text.to_owned(), start: 0 }])
    }

    /// The files of a node.
    pub(super) fn read(home: &Home) -> Result<Self, ConfigError> {
        let mut layers = Vec::new();
        let mut start = 0;
        for file in std::iter::once(home.config_file()).chain(drop_ins(home)?) {
            let bytes = durable::read(&file, MAX_FILE)?.unwrap_or_default();
            let text = String::from_utf8(bytes).map_err(|_| ConfigError::NotText(file.clone()))?;
            // One further than its last byte is still a place in it: errors at the end of a file point there.
            let next = start + text.len() + 1;
            layers.push(Layer { file, text, start });
            start = next;
        }
        Ok(Self(layers))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.iter().map(|layer| &layer.file)
    }

    /// The main file.
    pub(super) fn main(&self) -> PathBuf {
        self.files().next().cloned().unwrap_or_default()
    }

    /// File and line, counted from 1, of a place.
    pub(super) fn line(&self, place: usize) -> (PathBuf, usize) {
        let Some(layer) = self.0.iter().rev().find(|layer| layer.start <= place) else {
            return (self.main(), 1);
        };
        let before = &layer.text.as_bytes()[..(place - layer.start).min(layer.text.len())];
        (layer.file.clone(), 1 + before.iter().filter(|byte| **byte == b'\n').count())
    }

    /// All files merged. The error is a place and what is wrong there.
    pub(super) fn merged(&self) -> Result<DeTable<'_>, (usize, String)> {
        let mut all = DeTable::new();
        for layer in &self.0 {
            let table = DeTable::parse(&layer.text).map_err(|error| {
                let place = layer.start + error.span().map_or(0, |span| span.start);
                (place, error.message().trim().to_owned())
            })?;
            merge(&mut all, moved_table(table.into_inner(), layer.start));
        }
        Ok(all)
    }
}

/// Where each value of a merged table was written, by its dotted key.
pub(super) fn places(table: &DeTable<'_>) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), table)];
    while let Some((above, table)) = open.pop() {
        for (key, value) in table {
            let dotted = format!("{above}{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(below) => open.push((format!("{dotted}."), below)),
                _ => _ = found.insert(dotted, value.span().start),
            }
        }
    }
    found
}

fn drop_ins(home: &Home) -> Result<Vec<PathBuf>, ConfigError> {
    let dir = home.config_drop_ins();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(DiskError::new("read", &dir, error).into()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.on_disk("read", &dir)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What editors and package managers leave behind is none of it.
        if name.ends_with(".toml") && !name.starts_with('.') {
            files.push(path);
        }
    }
    if files.len() > MAX_DROP_INS {
        let many = io::Error::other(format!("more than {MAX_DROP_INS} files"));
        return Err(DiskError::new("read", &dir, many).into());
    }
    files.sort();
    Ok(files)
}

fn merge<'i>(into: &mut DeTable<'i>, from: DeTable<'i>) {
    for (key, value) in from {
        let table = match (into.get_mut(&key).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(old)), DeValue::Table(_)) => Some(old),
            _ => None,
        };
        match (table, value) {
            (Some(old), value) => {
                if let DeValue::Table(new) = value.into_inner() {
                    merge(old, new);
                }
            }
            (None, value) => {
                // The key goes too: its place is in its file.
                into.remove(&key);
                into.insert(key, value);
            }
        }
    }
}

fn moved<T>(value: Spanned<T>, by: usize) -> Spanned<T> {
    let span = value.span();
    Spanned::new(span.start + by..span.end + by, value.into_inner())
}

fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    table.into_iter().map(|(key, value)| (moved(key, by), moved_value(value, by))).collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let moved = moved(value, by);
    let span = moved.span();
    let inner = match moved.into_inner() {
        DeValue::Array(values) => {
            DeValue::Array(values.into_iter().map(|value| moved_value(value, by)).collect())
        }
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        other => other,
    };
    Spanned::new(span, inner)
}
