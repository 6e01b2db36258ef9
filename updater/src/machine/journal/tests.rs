//! A journal near its end. (Torn and damaged ones: `tests/machine/journal.rs`.)

use super::*;

#[test]
fn a_journal_that_is_nearly_full_takes_up_nothing_new_and_ends_what_has_begun() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let mut journal = Journal::open(&path).unwrap().0;
    let mut append = |end: u64, kind: Kind, effect: Effect| {
        journal.end = end;
        let now = Moment::new(jiff::Timestamp::UNIX_EPOCH, "b", 0);
        journal.append(now, kind, effect, "why", &State::Idle)
    };
    append(0, Kind::Intent, Effect::Announce).unwrap();
    let refused = append(MAX_FILE - RESERVE, Kind::Intent, Effect::Announce);
    assert!(matches!(refused, Err(JournalError::Full { .. })));
    assert!(path.metadata().unwrap().len() < 1000, "a refused line is not written");
    append(MAX_FILE - RESERVE, Kind::Intent, Effect::Withdraw).unwrap();
    append(MAX_FILE - RESERVE, Kind::Done, Effect::Announce).unwrap();
    let refused = append(MAX_FILE, Kind::Done, Effect::Withdraw);
    assert!(matches!(refused, Err(JournalError::Full { .. })));
}
