//! Signatures of other tools, requests as files, and names of keys in tokens.
#![no_main]

#[expect(dead_code, reason = "only its public keys are needed here")]
#[path = "../../../metadata/fuzz/src/holder.rs"]
mod holder;
#[path = "../src/signature.rs"]
mod signature;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| signature::run(bytes));
