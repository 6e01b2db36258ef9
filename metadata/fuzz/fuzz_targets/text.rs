//! Keys in the forms of other tools, names, versions and digests.
#![no_main]

#[path = "../src/text.rs"]
mod text;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| text::run(bytes));
