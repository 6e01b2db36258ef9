//! The example node: a key-value store over HTTP that can be stopped, copied, migrated and replaced without losing a write.
//!
//! ```text
//! serve       one thread a connection (worker), one thread that commits
//!   socket      the listening socket: from the supervisor (LISTEN_FDS) or by hand
//!   worker      accept, keep-alive, drain        http   the protocol     api   what is answered
//!   commit      group commit: append, fsync, then answer
//! checkpoint  a consistent copy while the node runs
//! migrate     one area of state from one schema to another
//! exchange    one value given to another node and taken by the own (peer)
//! state/      what is on disk
//! release     all that differs between the releases of this node
//! ```

mod api;
mod checkpoint;
mod command_line;
mod commit;
mod failure;
mod http;
mod migrate;
mod notify;
mod peer;
mod release;
mod serve;
mod socket;
mod state;
mod worker;

use std::process::ExitCode;

use command_line::Verb;

fn main() -> ExitCode {
    let done = command_line::parse(std::env::args().skip(1)).and_then(|verb| match verb {
        Verb::Serve(serve) => serve.run(),
        Verb::Checkpoint(checkpoint) => checkpoint.run(),
        Verb::Migrate(migrate) => migrate.run(),
        Verb::Exchange(exchange) => exchange.run(),
        Verb::Say(text) => {
            failure::answer(&text);
            Ok(())
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure::tell(&format!("error: {failure}"));
            ExitCode::from(failure.code)
        }
    }
}
