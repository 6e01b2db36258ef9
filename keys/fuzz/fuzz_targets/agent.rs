//! What an SSH agent answers.
#![no_main]

#[path = "../src/agent.rs"]
mod agent;
#[expect(dead_code, reason = "only its public keys are needed here")]
#[path = "../../../metadata/fuzz/src/holder.rs"]
mod holder;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| agent::run(bytes));
