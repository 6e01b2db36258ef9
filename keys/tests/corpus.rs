//! Every file that fuzzing starts from or has found, through the same functions, without a fuzzer.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../fuzz/src/agent.rs"]
#[expect(clippy::disallowed_types, reason = "the agent's side of its local socket")]
mod agent;
#[path = "../../metadata/fuzz/src/holder.rs"]
mod holder;
#[path = "../../metadata/fuzz/src/parts.rs"]
mod parts;
#[path = "../../metadata/fuzz/src/published.rs"]
mod published;
#[path = "../../metadata/tests/common/replay.rs"]
mod replay;
#[path = "../fuzz/src/review.rs"]
mod review;
#[path = "../fuzz/src/secret.rs"]
mod secret;
#[path = "../fuzz/src/signature.rs"]
mod signature;

use std::path::Path;

use replay::replay;

#[test]
fn agents_of_the_corpus_break_nothing() {
    replay("agent", agent::run);
}

#[test]
fn requests_of_the_corpus_break_nothing() {
    replay("review", review::run);
}

#[test]
fn secrets_of_the_corpus_break_nothing() {
    replay("secret", secret::run);
}

#[test]
fn signatures_of_the_corpus_break_nothing() {
    replay("signature", signature::run);
}

#[test]
fn the_honest_requests_of_the_corpus_are_signed() {
    for name in ["first-root", "next-root", "first-release", "release-added", "bin", "index"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/review").join(name);
        assert!(review::accepted(&std::fs::read(path).unwrap()), "{name}");
    }
}
