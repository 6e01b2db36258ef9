//! Statements, envelopes, signing requests and their answers.
#![no_main]

#[path = "../src/attestation.rs"]
mod attestation;
#[path = "../src/enveloped.rs"]
mod enveloped;
#[path = "../src/holder.rs"]
mod holder;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| attestation::run(bytes));
