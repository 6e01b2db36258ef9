//! Sigstore bundles, trusted roots, policies and answers of services.
#![no_main]

#[path = "../src/bundle.rs"]
mod bundle;
#[path = "../src/enveloped.rs"]
mod enveloped;
#[path = "../src/holder.rs"]
mod holder;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bundle::run(bytes));
