//! Finds the line of a recipe that an error is about.

use toml::de::{DeTable, DeValue};

/// The line, counted from 1, of a byte offset.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count() + 1
}

/// The line where the deepest known part of the field `path` is written.
pub(super) fn line_of(text: &str, path: &[String]) -> usize {
    let Ok(document) = DeTable::parse(text) else { return 1 };
    let mut table = document.get_ref();
    let mut line = 1;
    for name in path {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else {
            break;
        };
        line = line_at(text, key.span().start);
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    line
}
