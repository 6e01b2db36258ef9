//! `tee` (hidden): the process that stands between some clients and the node while a release is tried.

use std::io::stdin;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use countersign_console::{Exit, Failure, Hint};
use countersign_updater::supervise::{Share, TeePlan, run_tee};

/// Stand between some clients and the node (hidden: the supervisor runs it, with its lifeline as standard input)
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Of new connections
    #[arg(long)]
    share: Share,
    /// Where the agent listens
    #[arg(long)]
    to: PathBuf,
    /// A socket of the node
    #[arg(long = "socket", value_name = "NAME=ADDRESS", value_parser = socket)]
    sockets: Vec<(String, SocketAddr)>,
}

fn socket(text: &str) -> Result<(String, SocketAddr), String> {
    let (name, address) = text.split_once('=').ok_or("it is NAME=ADDRESS")?;
    let address = address.parse().map_err(|_| format!("{address:?} is no address"))?;
    Ok((name.to_owned(), address))
}

impl Args {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let lifeline = stdin().as_fd().try_clone_to_owned();
        let lifeline = lifeline.or_fail(Exit::Host, "standard input is not open")?;
        let plan = TeePlan { share: self.share, to: self.to, sockets: self.sockets };
        run_tee(&plan, UnixStream::from(lifeline))
            .map_err(|error| Failure::caused(Exit::Host, "the tee could not begin", &error))?;
        Ok(Exit::Done)
    }
}
