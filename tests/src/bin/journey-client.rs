//! Writes to a node all the while, remembers every request, and reads everything back.

use std::process::ExitCode;

use countersign_tests::client::program::{Cli, run};

fn main() -> ExitCode {
    countersign_console::run(Cli::output, run)
}
