//! The frame of a program: parse, dispatch, tell the failure, exit.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::printable::printable;

/// Flags of every verb that prints a result.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Output {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

/// Verbs that every program has.
#[derive(Subcommand, Clone, Debug)]
pub enum Extras {
    /// Print shell completions (bash, zsh, fish, elvish, powershell)
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print the manual page (roff): `… man | man -l -`
    Man,
}

impl Extras {
    /// Prints what was asked for, for the program `P`.
    ///
    /// # Errors
    /// Standard output cannot be written.
    pub fn print<P: CommandFactory>(self) -> Result<Exit, Failure> {
        let mut command = P::command();
        let mut text = Vec::new();
        let failed = |error: io::Error| Failure::caused(Exit::Host, "cannot print", &error);
        match self {
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                clap_complete::generate(shell, &mut command, name, &mut text);
            }
            Self::Man => clap_mangen::Man::new(command).render(&mut text).map_err(failed)?,
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(&text).and_then(|()| stdout.flush()) {
            // A reader that hung up (`| head`) is no error of ours.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
            _ => Ok(Exit::Done),
        }
    }
}

/// Parses the command line, runs `dispatch`, tells a failure (`error:`, `hint:` on standard error, or one
/// JSON document with `--json`), and returns the exit code. The whole of every `main`.
pub fn run<P: Parser>(
    output: impl Fn(&P) -> Output,
    dispatch: impl FnOnce(P) -> Result<Exit, Failure>,
) -> ExitCode {
    let program = P::parse();
    let json = output(&program).json;
    match dispatch(program) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(failure) => {
            tell(&failure, json);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// A reader that hung up is no error of ours.
fn tell(failure: &Failure, as_json: bool) {
    let Failure { exit, sentence, hint } = failure;
    if as_json {
        let document = json!({ "error": sentence, "hint": hint, "exit": *exit as u8 });
        let _hung_up = writeln!(io::stdout().lock(), "{document}");
        return;
    }
    let mut stderr = io::stderr().lock();
    let _hung_up = writeln!(stderr, "error: {}", printable(sentence));
    if let Some(hint) = hint {
        let _hung_up = writeln!(stderr, "hint: {}", printable(hint));
    }
}
