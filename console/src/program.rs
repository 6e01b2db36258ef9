//! The frame of a program: parse, dispatch, tell the failure, exit.

use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use serde_json::json;

use crate::failure::{Exit, Failure};

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
        let mut stdout = std::io::stdout().lock();
        match self {
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                clap_complete::generate(shell, &mut command, name, &mut stdout);
            }
            Self::Man => clap_mangen::Man::new(command)
                .render(&mut stdout)
                .map_err(|error| Failure::caused(Exit::Host, "cannot print the page", &error))?,
        }
        Ok(Exit::Done)
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

#[expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "the one place where a failure is told"
)]
fn tell(failure: &Failure, as_json: bool) {
    if as_json {
        println!(
            "{}",
            json!({ "error": failure.sentence, "hint": failure.hint, "exit": failure.exit as u8 })
        );
        return;
    }
    eprintln!("error: {}", failure.sentence);
    if let Some(hint) = &failure.hint {
        eprintln!("hint: {hint}");
    }
}
