//! Every file that fuzzing starts from or has found, through the same functions, without a fuzzer.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::disallowed_methods, reason = "the corpus lies in files")]

#[path = "../fuzz/src/attestation.rs"]
mod attestation;
#[cfg(feature = "sigstore")]
#[path = "../fuzz/src/bundle.rs"]
mod bundle;
#[path = "../fuzz/src/enveloped.rs"]
mod enveloped;
#[path = "../fuzz/src/holder.rs"]
mod holder;
#[path = "../fuzz/src/parts.rs"]
mod parts;
#[path = "../fuzz/src/published.rs"]
mod published;
#[path = "../fuzz/src/refresh.rs"]
mod refresh;
#[path = "common/replay.rs"]
mod replay;
#[path = "../fuzz/src/role.rs"]
mod role;
#[path = "../fuzz/src/text.rs"]
mod text;

use replay::replay;

#[test]
fn attestations_of_the_corpus_break_nothing() {
    replay("attestation", attestation::run);
}

#[cfg(feature = "sigstore")]
#[test]
fn bundles_of_the_corpus_break_nothing() {
    replay("bundle", bundle::run);
}

#[test]
fn repositories_of_the_corpus_break_nothing() {
    replay("refresh", refresh::run);
}

#[test]
fn roles_of_the_corpus_break_nothing() {
    replay("role", role::run);
}

#[test]
fn texts_of_the_corpus_break_nothing() {
    replay("text", text::run);
}

#[test]
fn the_honest_repositories_of_the_corpus_yield_their_release() {
    assert_eq!(refresh::client(b""), 1);
    assert_eq!(refresh::client(include_bytes!("../fuzz/corpus/refresh/bins")), 1);
    assert_eq!(refresh::client(include_bytes!("../fuzz/corpus/refresh/rotation-later")), 1);
}
