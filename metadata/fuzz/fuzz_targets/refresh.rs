//! A whole refresh from files that are signed by the right keys.
#![no_main]

#[path = "../src/holder.rs"]
mod holder;
#[path = "../src/parts.rs"]
mod parts;
#[path = "../src/published.rs"]
mod published;
#[path = "../src/refresh.rs"]
mod refresh;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| refresh::run(bytes));
