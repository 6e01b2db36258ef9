//! Deltas: fetched where they help, and whatever is wrong with one, the whole file comes instead.

use std::io;

use super::*;
use crate::stage::{StageError, stage};
use countersign_metadata::Release;

struct Next {
    bench: Bench,
    old: Release,
    new: Release,
    /// The canonical tars of both.
    tars: [Vec<u8>; 2],
}

/// A node that holds 1.0.0, and 2.0.0, of which most is the same.
fn next() -> Next {
    let mut bench = bench();
    let old = bench.approved.target().release().clone();
    stage(&bench.home, bench.fetch(&[&bench.repository.url()]).unwrap()).unwrap();
    let tar = |to| fixture::tar(&[("bin/node*", &noise(0..to)), ("bin/none", ""), ("c", "d")]);
    let tars = [fixture::tar(&[("bin/node*", &noise(0..2000))]), tar(2020)];
    let new = fixture::release("2.0.0", &tars[1], json!({}));
    bench.repository.add_tar(&new, &tars[1]);
    Next { bench, old, new, tars }
}

impl Next {
    fn delta(&self) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
        bidiff::simple_diff(&self.tars[0], &self.tars[1], &mut encoder).unwrap();
        encoder.finish().unwrap()
    }

    fn publish(&mut self, from: Sha256, delta: &[u8]) {
        self.bench.repository.add_delta(&self.new, from, delta);
        self.bench.repository.publish(2);
        self.bench.approved = approved(&self.bench.repository);
    }

    /// Fetches and stages 2.0.0; says what was asked for.
    fn arrives(&self, more: &str) -> (bool, Vec<String>) {
        let mirror = self.bench.mirror(Mischief::None);
        let config = config(&[&mirror.url], more);
        let approved = self.bench.approved.clone();
        let fetched = fetch(&self.bench.home, &config, approved, &mut |_| {}).unwrap();
        let by_delta = fetched.base().is_some();
        let staged = stage(&self.bench.home, fetched).unwrap();
        assert_eq!(staged.identity(), &Sha256::of(&self.tars[1]));
        assert_eq!(self.bench.partials(), 2, "two releases and nothing else");
        (by_delta, mirror.artifacts())
    }

    /// It arrives, and the whole file was needed.
    #[track_caller]
    fn arrives_whole(&self) -> Vec<String> {
        let (by_delta, asked) = self.arrives("");
        assert!(!by_delta && asked.last().unwrap().starts_with("targets/"), "{asked:?}");
        asked
    }
}

#[test]
fn a_node_that_holds_the_base_fetches_the_delta_alone() {
    let mut next = next();
    let delta = next.delta();
    assert!((delta.len() as u64) < next.bench.approved.target().length() / 10);
    next.publish(next.old.artifact.sha256, &delta);
    let (by_delta, asked) = next.arrives("");
    assert!(by_delta);
    assert_eq!(asked, [format!("deltas/{}@0", Sha256::of(&delta))]);
}

#[test]
fn an_operator_may_want_whole_files() {
    let mut next = next();
    next.publish(next.old.artifact.sha256, &next.delta());
    let (by_delta, asked) = next.arrives("[fetch]\ndeltas = false");
    assert!(!by_delta && asked.len() == 1, "{asked:?}");
}

#[test]
fn a_base_that_is_not_there_means_the_whole_file() {
    let mut next = next();
    next.publish(Sha256::of(b"another"), &next.delta());
    assert_eq!(next.arrives_whole().len(), 1);
}

#[test]
fn a_base_that_was_damaged_means_the_whole_file() {
    let mut next = next();
    next.publish(next.old.artifact.sha256, &next.delta());
    let stored = next.bench.home.stored(&next.old.artifact.sha256);
    fs::remove_file(stored.join("tree/bin/node")).unwrap();
    fs::write(stored.join("tree/bin/node"), "not what it was").unwrap();
    assert_eq!(next.arrives_whole().len(), 2);
}

#[test]
fn a_delta_that_no_mirror_has_means_the_whole_file_and_is_asked_for_once() {
    let mut next = next();
    let delta = next.delta();
    next.publish(next.old.artifact.sha256, &delta);
    let path = next.bench.repository.dir.path().join(format!("deltas/{}", Sha256::of(&delta)));
    fs::remove_file(&path).unwrap();
    let mirror = next.bench.mirror(Mischief::CutAfter(1000));
    next.bench.fetch(&[&mirror.url]).unwrap_err();
    next.bench.fetch(&[&mirror.url]).unwrap_err();
    let of_deltas = mirror.artifacts().iter().filter(|path| path.starts_with("deltas/")).count();
    assert_eq!(of_deltas, 1, "{:?}", mirror.artifacts());
    assert_eq!(next.arrives_whole().len(), 2, "another mirror may have it");
}

#[test]
fn a_corrupt_delta_on_a_mirror_means_the_whole_file_from_it() {
    let mut next = next();
    let delta = next.delta();
    next.publish(next.old.artifact.sha256, &delta);
    let path = next.bench.repository.dir.path().join(format!("deltas/{}", Sha256::of(&delta)));
    let mut corrupt = delta.clone();
    corrupt[delta.len() / 2] ^= 1;
    for served in [corrupt, delta[..delta.len() - 9].to_vec(), Vec::new()] {
        fs::write(&path, served).unwrap();
        let asked = next.arrives_whole();
        assert!(asked.iter().filter(|path| path.starts_with("targets/")).count() == 1, "{asked:?}");
        remove_new(&next);
    }
}

#[expect(clippy::disallowed_methods, reason = "a staged release of this test")]
fn remove_new(next: &Next) {
    fs::remove_dir_all(next.bench.home.stored(&next.new.artifact.sha256)).unwrap();
}

#[test]
fn a_signed_delta_that_gives_something_else_means_the_whole_file() {
    let other = {
        let next = next();
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        bidiff::simple_diff(&next.tars[0], &next.tars[0], &mut encoder).unwrap();
        encoder.finish().unwrap()
    };
    let truncated = zstd::encode_all(&[0xdf, 0xb1, 0, 0, 0, 0x10, 0, 0, 7, 1, 2][..], 3).unwrap();
    let no_delta = zstd::encode_all(&b"these are no instructions"[..], 3).unwrap();
    for delta in [other, truncated, no_delta, b"this is not even compressed".to_vec()] {
        let mut next = next();
        next.publish(next.old.artifact.sha256, &delta);
        assert_eq!(next.arrives_whole().len(), 2);
    }
}

#[test]
fn a_bomb_of_a_delta_ends_at_what_the_artifact_may_be_and_means_the_whole_file() {
    // Without end: as one copy of zeros, and as instructions that do nothing at all.
    let magic = [0xdf_u8, 0xb1, 0, 0, 0, 0x10, 0, 0];
    let copy = [0_u8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    for head in [copy.as_slice(), &[]] {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        io::Write::write_all(&mut encoder, &[magic.as_slice(), head].concat()).unwrap();
        io::copy(&mut io::Read::take(io::repeat(0), 1 << 30), &mut encoder).unwrap();
        let bomb = encoder.finish().unwrap();
        assert!(bomb.len() < 120_000, "it would not be fetched");
        let mut next = next();
        next.publish(next.old.artifact.sha256, &bomb);
        assert_eq!(next.arrives_whole().len(), 2);
    }
}

#[test]
fn a_delta_that_needs_more_memory_than_it_may_means_the_whole_file() {
    let mut next = next();
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    encoder.window_log(27).unwrap();
    bidiff::simple_diff(&next.tars[0], &next.tars[1], &mut encoder).unwrap();
    next.publish(next.old.artifact.sha256, &encoder.finish().unwrap());
    assert_eq!(next.arrives_whole().len(), 2);
}

#[test]
fn a_base_that_changes_after_its_delta_was_tried_is_not_held_against_the_release() {
    let mut next = next();
    next.publish(next.old.artifact.sha256, &next.delta());
    let fetched = next.bench.fetch(&[&next.bench.repository.url()]).unwrap();
    assert!(fetched.base().is_some());
    let node = next.bench.home.stored(&next.old.artifact.sha256).join("tree/bin/node");
    let mut bytes = fs::read(&node).unwrap();
    bytes[70_000] ^= 1;
    fs::remove_file(&node).unwrap();
    fs::write(&node, bytes).unwrap();
    let error = stage(&next.bench.home, fetched).unwrap_err();
    assert!(matches!(error, StageError::Damaged { .. }) && !error.is_untrusted(), "{error}");
    assert!(!next.arrives("").0);
}
