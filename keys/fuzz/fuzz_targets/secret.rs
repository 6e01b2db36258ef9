//! Files of secret and public keys.
#![no_main]

#[path = "../src/secret.rs"]
mod secret;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| secret::run(bytes));
