//! What a command prints: sentences and tables for people, one JSON document for programs.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;

use crate::printable::printable;
use crate::program::Output;

/// The one way to standard output. With `--json` only [`Out::json`] prints, without it all but that.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    json: bool,
}

impl Out {
    /// The output that the command line asked for.
    pub fn new(output: Output) -> Self {
        Self { json: output.json }
    }

    /// Whether the reader is a program.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// A sentence to a person.
    pub fn say(self, line: impl std::fmt::Display) {
        if !self.json {
            write_line(&printable(&line.to_string()));
        }
    }

    /// A table to a person. Columns wrap to the terminal's width.
    pub fn table<const N: usize>(
        self,
        headers: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        if self.json {
            return;
        }
        let mut table = Table::new();
        table.load_style(UNDERLINED).set_content_arrangement(ContentArrangement::Dynamic);
        if !std::io::stdout().is_terminal() {
            table.set_width(120);
        }
        table.set_header(headers);
        for row in rows {
            table.add_row(row.map(|cell| printable(&cell).into_owned()));
        }
        write_line(&table.to_string());
    }

    /// One object of a stream, to a program: a line of its own, whatever else was asked for.
    pub fn line(self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            write_line(&text);
        }
    }

    /// The result, to a program: one pretty-printed JSON document.
    pub fn json(self, value: &impl Serialize) {
        if self.json {
            let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| {
                format!("{{\"error\":\"cannot print the result: {error}\"}}")
            });
            write_line(&text);
        }
    }
}

/// A line below the header, nothing else: what matters is in the cells.
const UNDERLINED: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A reader that hung up (`| head`) is no error of ours.
fn write_line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _hung_up = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
