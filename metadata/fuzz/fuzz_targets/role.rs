//! Files of roles, and the releases in them.
#![no_main]

#[path = "../src/role.rs"]
mod role;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| role::run(bytes));
