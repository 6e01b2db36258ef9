//! Asking: one question to a node that runs, one answer, within a deadline.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use countersign_metadata::node::HttpNumber;

use crate::Home;
use crate::durable;
use crate::generation::Generation;
use crate::shadow::probe_health;
use crate::state::command;
use crate::supervise::probe;
use crate::trust_store::chain;

/// One probe over a connection may take this long.
const TRY: Duration = Duration::from_secs(2);

/// One command may take this long.
const COMMAND: Duration = Duration::from_secs(10);

/// Longest output of a command that is a number, in bytes.
const MAX_NUMBER: u64 = 128;

/// Whom to ask, and whose question it is.
pub(super) struct Asker<'a> {
    pub(super) home: &'a Home,
    pub(super) generation: &'a Generation,
    /// The operator's commands are programs of this machine, the release's are its own.
    pub(super) of_operator: bool,
}

impl Asker<'_> {
    fn address(&self, listen: &str) -> Result<SocketAddr, String> {
        let address = self.generation.launch.address(listen);
        address.ok_or_else(|| format!("the release has no socket {listen:?}"))
    }

    /// The body of a 200.
    pub(super) fn http(&self, listen: &str, path: &str) -> Result<Vec<u8>, String> {
        let address = probe::reachable(self.address(listen)?);
        let stream = TcpStream::connect_timeout(&address, TRY).map_err(|error| chain(&error))?;
        let answer = probe_health(stream, path, TRY).map_err(|error| chain(&error))?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("GET {path} was answered with status {status}")),
        }
    }

    pub(super) fn tcp(&self, listen: &str) -> Result<(), String> {
        probe::connection(self.address(listen)?, TRY)
    }

    /// Runs it; what it printed is in the file that is named.
    pub(super) fn command(&self, name: &str, words: &[String]) -> Result<PathBuf, String> {
        let words = match self.of_operator {
            true => self.generation.operators_command(self.home, words),
            false => self.generation.own_command(self.home, words),
        };
        let printed = self.home.log().join(format!("check-{name}.log"));
        let state = self.generation.state_dir(self.home);
        durable::append_to(&printed)
            .and_then(|file| {
                file.set_len(0).map_err(|error| durable::DiskError::new("write", &printed, error))
            })
            .map_err(|error| chain(&error))?;
        let environment = self.generation.launch.environment.clone();
        command::run(&words, environment, &state, &printed, COMMAND, Vec::new())
            .map(|()| printed)
            .map_err(|error| chain(&error))
    }

    pub(super) fn http_number(&self, from: &HttpNumber) -> Result<i128, String> {
        let HttpNumber { listen, path, pointer } = from;
        let body = self.http(listen, path)?;
        let json: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| format!("{path} is no JSON: {error}"))?;
        let found = json.pointer(pointer).ok_or_else(|| format!("{path} has no {pointer:?}"))?;
        let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
        number(&text)
    }

    pub(super) fn command_number(&self, name: &str, words: &[String]) -> Result<i128, String> {
        let printed = self.command(name, words)?;
        let bytes = durable::read(&printed, MAX_NUMBER).map_err(|error| chain(&error))?;
        number(&String::from_utf8_lossy(&bytes.unwrap_or_default()))
    }
}

/// Decimal, or hexadecimal with `0x`, as many chains say their height.
fn number(text: &str) -> Result<i128, String> {
    let text = text.trim();
    let read = match text.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => text.parse(),
    };
    read.map_err(|_| format!("{:?} is no whole number", text.chars().take(40).collect::<String>()))
}
