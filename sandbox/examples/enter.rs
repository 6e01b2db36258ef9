//! Runs a command in a sandbox, with every protection and the machine's own programs: what one costs (benches/cost.sh).

#![expect(clippy::print_stderr, reason = "an example is a program")]

use std::ffi::OsString;
use std::process::ExitCode;

use countersign_sandbox::{Exit, Limits, Lowerable, Mount, Network, Sandbox};

fn main() -> ExitCode {
    countersign_sandbox::init_if_asked();
    let command: Vec<OsString> = std::env::args_os().skip(1).collect();
    let limits = Limits { memory: Some(2 << 30), ..Limits::default() };
    let mut sandbox =
        Sandbox::new(command).limits(limits).network(Network::Sinkhole).given_programs();
    // A plain user has no control group, and bubblewrap nobody.
    sandbox = sandbox.lower([Lowerable::MemoryLimit]);
    for name in ["/usr", "/bin", "/sbin", "/lib", "/lib64"] {
        sandbox = match std::fs::read_link(name) {
            Ok(target) => sandbox.mount(Mount::Link { to: name.into(), target }),
            Err(_) => sandbox.mount(Mount::ReadOnly { from: name.into(), to: name.into() }),
        };
    }
    match sandbox.run().map(|ended| ended.exit) {
        Ok(Exit::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(3)
        }
    }
}
