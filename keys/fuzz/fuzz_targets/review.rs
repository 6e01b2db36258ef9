//! Signing requests whose files are signed by the right keys.
#![no_main]

#[path = "../../../metadata/fuzz/src/holder.rs"]
mod holder;
#[path = "../../../metadata/fuzz/src/parts.rs"]
mod parts;
#[path = "../../../metadata/fuzz/src/published.rs"]
mod published;
#[path = "../src/review.rs"]
mod review;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| review::run(bytes));
