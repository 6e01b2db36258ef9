//! The journal under power cuts and other hands.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use countersign_metadata::Sha256;
use countersign_updater::machine::journal::{Journal, JournalError, Kind, read};
use countersign_updater::machine::{Candidate, Effect, Ledger, Moment, State};

fn moment(seconds: u64) -> Moment {
    let wall = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
    Moment::new(wall, "b", seconds * 1000)
}

fn candidate() -> Candidate {
    Candidate {
        artifact: Sha256::of(b"new"),
        version: "2.0.0".parse().unwrap(),
        path: "p/2.0.0/p.tar.zst".into(),
        areas: BTreeMap::new(),
        reads: std::collections::BTreeMap::new(),
        actions: BTreeMap::new(),
        overlap: false,
        asked: false,
    }
}

fn write(path: &Path, lines: usize) {
    let (mut journal, _) = Journal::open(path).unwrap();
    for line in 0..lines {
        let fetched = line % 2 == 1;
        let state = State::Announced { candidate: candidate(), fetched };
        let kind = if fetched { Kind::Done } else { Kind::Intent };
        journal.append(moment(line as u64), kind, Effect::Fetch, "a \"why\"\n", &state).unwrap();
    }
}

#[test]
fn a_journal_torn_at_any_byte_keeps_every_whole_line_and_can_be_continued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    write(&path, 3);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|i| whole[*i] == b'\n').map(|i| i + 1).collect();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(read(&path).unwrap().records.len(), kept, "cut at {cut}");
        if cut % 7 != 0 {
            continue;
        }
        let (mut journal, records) = Journal::open(&path).unwrap();
        assert_eq!(records.len(), kept);
        let kind = Kind::Done;
        journal.append(moment(9), kind, Effect::Fetch, "again", &State::Idle).unwrap();
        let after = read(&path).unwrap();
        assert_eq!((after.records.len(), after.torn), (kept + 1, 0));
        assert_eq!(after.records[kept].seq, kept as u64 + 1);
    }
    let aside = fs::read_dir(dir.path()).unwrap().count() - 1;
    assert!(aside > 0, "what was torn off is kept aside");
}

#[test]
fn a_changed_byte_before_the_last_line_is_damage_and_the_line_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    write(&path, 4);
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|b| *b == b'\n').unwrap() + 10;
    for at in [second, second + 40] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = read(&path).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { line: 2, .. }), "{error}");
        assert!(Journal::open(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was cut off");
    }
}

#[test]
fn a_line_that_is_missing_or_moved_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    write(&path, 4);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for order in [[0, 2, 3].as_slice(), &[0, 2, 1, 3], &[1, 0, 2, 3]] {
        let moved: String = order.iter().map(|i| format!("{}\n", lines[*i])).collect();
        fs::write(&path, moved).unwrap();
        assert!(matches!(read(&path), Err(JournalError::Damaged { .. })), "{order:?}");
    }
}

#[test]
fn a_journal_of_a_newer_program_is_refused_by_its_format() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let body = r#"{"v":2,"seq":1,"colour":"blue""#;
    let sum = Sha256::of(format!("{}{body}", "0".repeat(16)).as_bytes()).to_string();
    fs::write(&path, format!("{body},\"sum\":\"{}\"}}\n", &sum[..16])).unwrap();
    assert!(matches!(read(&path), Err(JournalError::Newer { line: 1, format: 2, .. })));
}

#[test]
fn a_last_line_that_is_whole_and_makes_no_sense_is_not_taken_for_a_torn_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let body = r#"{"v":1,"seq":1,"effect":"dance""#;
    let sum = Sha256::of(format!("{}{body}", "0".repeat(16)).as_bytes()).to_string();
    fs::write(&path, format!("{body},\"sum\":\"{}\"}}\n", &sum[..16])).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Damaged { line: 1, .. })));
}

#[test]
fn an_intent_without_its_outcome_is_pending_and_the_outcome_settles_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    write(&path, 1);
    assert_eq!(Ledger::of(&read(&path).unwrap().records).pending, Some(Effect::Fetch));
    fs::remove_file(&path).unwrap();
    write(&path, 2);
    assert_eq!(Ledger::of(&read(&path).unwrap().records).pending, None);
}

#[test]
fn a_journal_that_is_too_long_is_refused_by_name_and_never_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    write(&path, 3);
    let whole = fs::metadata(&path).unwrap().len();
    let long = (256 << 20) + 1;
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(long).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Full { .. })));
    assert!(matches!(read(&path), Err(JournalError::Full { .. })));
    assert_eq!(fs::metadata(&path).unwrap().len(), long);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was torn off");
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole).unwrap();
    assert_eq!(Journal::open(&path).unwrap().1.len(), 3);
}
