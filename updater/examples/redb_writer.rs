//! A node that writes redb all the while, and a reader that says whether a copy of its state is whole.
//!
//! `redb_writer write STATE` commits one transaction after the other: a number into two tables, and pages of junk that
//! make the tree move. `redb_writer check COPY` opens the copy, lets redb check it, and compares the two tables.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use signal_hook::consts::SIGTERM;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

const LEFT: TableDefinition<'_, u64, u64> = TableDefinition::new("left");
const RIGHT: TableDefinition<'_, u64, u64> = TableDefinition::new("right");
const JUNK: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("junk");

fn main() -> Fallible<()> {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "write", state] => write(&Path::new(state).join("data.redb")),
        [_, "check", copy] => check(&Path::new(copy).join("data.redb")),
        _ => Err("redb_writer write STATE | check COPY".into()),
    }
}

/// How many pages of junk there are: enough that nobody copies the file between two commits.
const PAGES: u64 = 16 << 10;

fn page(number: u64) -> Vec<u8> {
    vec![number.to_le_bytes()[0]; 2000]
}

fn write(path: &Path) -> Fallible<()> {
    let told = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&told))?;
    let database = Database::create(path)?;
    let transaction = database.begin_write()?;
    {
        let mut junk = transaction.open_table(JUNK)?;
        for n in 0..PAGES {
            junk.insert(n, page(n).as_slice())?;
        }
    }
    transaction.commit()?;
    let mut number = 0;
    while !told.load(Ordering::SeqCst) {
        number += 1;
        let transaction = database.begin_write()?;
        {
            let mut left = transaction.open_table(LEFT)?;
            left.insert(number % 512, number)?;
            let mut junk = transaction.open_table(JUNK)?;
            for n in 0..8 {
                junk.insert((number * 37 + n * 1031) % PAGES, page(number).as_slice())?;
            }
            let mut right = transaction.open_table(RIGHT)?;
            right.insert(number % 512, number)?;
        }
        transaction.commit()?;
        if number == 16 {
            let socket = std::env::var_os("NOTIFY_SOCKET").ok_or("no NOTIFY_SOCKET")?;
            UnixDatagram::unbound()?.send_to(b"READY=1", socket)?;
        }
    }
    Ok(())
}

fn check(path: &Path) -> Fallible<()> {
    let mut database = Database::open(path)?;
    database.check_integrity()?;
    let transaction = database.begin_read()?;
    let read = |table| -> Fallible<Vec<(u64, u64)>> {
        let table = transaction.open_table(table)?;
        table
            .iter()?
            .map(|row| row.map(|(k, v)| (k.value(), v.value())).map_err(Into::into))
            .collect()
    };
    let (left, right) = (read(LEFT)?, read(RIGHT)?);
    if left.len() < 8 || left != right {
        return Err("the tables are not of one transaction".into());
    }
    let junk = transaction.open_table(JUNK)?;
    for row in junk.iter()? {
        let (_, page) = row?;
        if page.value().iter().any(|byte| *byte != page.value()[0]) {
            return Err("a page is torn".into());
        }
    }
    Ok(())
}
