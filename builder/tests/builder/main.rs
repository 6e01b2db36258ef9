//! The builder from the outside: the real program, real sandboxes, real archives.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails the test")]

mod archives;
mod cache;
mod compare;
mod environments;
mod hermetic;
mod hostile;
mod init;
mod inputs;
mod interrupted;
mod kinds;
mod mirrors;
mod newcomer;
mod packages;
mod project;
mod rebuild;
mod sbom;
mod serve;
mod sources;
mod unruly;
mod variations;
