//! `journey-client`: the load as a program, for demonstrations that want to see it from outside.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use countersign_console::{Exit, Failure, Hint, Out, Output, Progress};
use serde::Deserialize;
use serde_json::json;

use super::record::{Counts, Protocol, Record};
use super::{Load, beanstalk, http_load};

/// Write to a node all the while, remember every request, and read everything back
#[derive(Debug, Parser)]
#[command(name = "journey-client", version, after_help = HELP)]
pub struct Cli {
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    verb: Verb,
}

const HELP: &str = "\
Examples:
  journey-client http 127.0.0.1:8080 --rate 300 --file record.json --until-file stop &
  … update the node; touch stop; wait …
  journey-client counts record.json --from 1767225600000 --to 1767225602000
  journey-client check 127.0.0.1:8080 record.json";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write values to the example node
    Http(Write),
    /// Put jobs into beanstalkd
    Beanstalk(Write),
    /// Read every acknowledged value or job; exit 1 if one is missing
    #[command(visible_alias = "beanstalk-check")]
    Check {
        /// Where the node listens
        address: SocketAddr,
        /// What `http` or `beanstalk` has written
        record: PathBuf,
    },
    /// Count the requests inside and outside of a time
    Counts {
        /// What `http` or `beanstalk` has written
        record: PathBuf,
        /// Where it begins (Unix time in milliseconds)
        #[arg(long)]
        from: u64,
        /// Before which it ends (Unix time in milliseconds)
        #[arg(long)]
        to: u64,
    },
    /// Ask beanstalkd for its version and how many jobs it holds
    BeanstalkStats {
        /// Where it listens
        address: SocketAddr,
    },
    /// Print a TCP port of 127.0.0.1 on which nobody listens now
    FreePort,
    /// Print the commands in what `countersign-updater verify --json` says on standard input, as shell lines
    StockCommands {
        /// The file's name in them
        #[arg(long, default_value = "FILE")]
        file: String,
    },
}

#[derive(Args, Debug)]
struct Write {
    /// Where the node listens
    address: SocketAddr,
    /// Requests a second
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Writers; every third keeps its connection
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Where the record goes
    #[arg(long)]
    file: PathBuf,
    /// End when this file appears (besides on TERM and INT)
    #[arg(long)]
    until_file: Option<PathBuf>,
}

impl Cli {
    /// What was asked of the output.
    pub fn output(&self) -> Output {
        self.output
    }
}

/// Runs the verb.
///
/// # Errors
/// The record or the node cannot be used.
pub fn run(cli: Cli) -> Result<Exit, Failure> {
    let out = Out::new(cli.output);
    match cli.verb {
        Verb::Http(write) => write.run(http_load::start, out),
        Verb::Beanstalk(write) => write.run(beanstalk::start, out),
        Verb::Check { address, record } => check(address, &record, out),
        Verb::Counts { record, from, to } => {
            let record = read(&record)?;
            let (inside, outside) = (record.within(from, to), record.outside(from, to));
            out.json(&json!({ "inside": inside, "outside": outside }));
            out.say(format_args!("inside:  {}", told(&inside)));
            out.say(format_args!("outside: {}", told(&outside)));
            Ok(Exit::Done)
        }
        Verb::BeanstalkStats { address } => stats(address, out),
        Verb::FreePort => {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            let port = port.or_fail(Exit::Host, "cannot open a socket")?.port();
            out.json(&port);
            out.say(port);
            Ok(Exit::Done)
        }
        Verb::StockCommands { file } => stock_commands(&file, out),
    }
}

impl Write {
    fn run(self, start: fn(SocketAddr, usize, u32) -> Load, out: Out) -> Result<Exit, Failure> {
        let ended = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
            signal_hook::flag::register(signal, ended.clone())
                .or_fail(Exit::Host, "cannot set up signals")?;
        }
        let load = start(self.address, usize::from(self.threads), self.rate);
        let progress = Progress::spinner("writing");
        while !ended.load(Ordering::Acquire)
            && !self.until_file.as_ref().is_some_and(|file| file.exists())
        {
            let (acknowledged, failed) = (load.acknowledged(), load.failed());
            progress.now(&format!("{acknowledged} acknowledged, {failed} failed"));
            std::thread::sleep(Duration::from_millis(50));
        }
        let record = load.stop().or_fail(Exit::Host, "the load did not end well")?;
        drop(progress);
        let written = serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|text| replace(&self.file, &text));
        written.or_fail(Exit::Host, format_args!("cannot write {}", self.file.display()))?;
        let (counts, rate) = (record.counts(), record.rate());
        out.json(&json!({ "counts": counts, "acknowledged-per-second": rate }));
        out.say(format_args!("{}, {rate:.0} acknowledged a second", told(&counts)));
        for (_, key, failure) in record.failed().take(5) {
            out.say(format_args!("  {key}: {failure}"));
        }
        Ok(Exit::Done)
    }
}

fn check(address: SocketAddr, path: &Path, out: Out) -> Result<Exit, Failure> {
    let record = read(path)?;
    let missing = match record.protocol {
        Protocol::Http => http_load::read_back(address, &record),
        Protocol::Beanstalk => beanstalk::read_back(address, &record),
    };
    let missing = missing.or_fail(Exit::Network, format_args!("cannot read from {address}"))?;
    out.json(&missing);
    let (asked, absent, different) = (missing.asked, missing.absent.len(), missing.different.len());
    out.say(format_args!(
        "{asked} acknowledged values asked for: {absent} absent, {different} different"
    ));
    Ok(if missing.is_none() { Exit::Done } else { Exit::Verdict })
}

fn stats(address: SocketAddr, out: Out) -> Result<Exit, Failure> {
    let stats = beanstalk::Client::connect(address).and_then(|mut client| client.stats());
    let stats = stats.or_fail(Exit::Network, format_args!("cannot ask {address}"))?;
    out.json(&stats);
    let shown = ["version", "current-jobs-ready", "current-jobs-reserved", "uptime"];
    for (name, value) in shown.iter().filter_map(|name| Some((name, stats.get(*name)?))) {
        out.say(format_args!("{name}: {value}"));
    }
    Ok(Exit::Done)
}

fn stock_commands(file: &str, out: Out) -> Result<Exit, Failure> {
    #[derive(Deserialize)]
    struct Verified {
        commands: Vec<String>,
    }
    let verified: Verified = serde_json::from_reader(io::stdin().lock())
        .or_fail(Exit::Input, "standard input is not what `verify --json` prints")?;
    let commands = verified.commands.iter().map(|command| command.replace("FILE", file));
    let commands: Vec<_> = commands.collect();
    out.json(&commands);
    commands.iter().for_each(|command| out.say(command));
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Record, Failure> {
    let doing = format_args!("cannot read the record {}", path.display());
    let bytes = fs::read(path).or_fail(Exit::Input, doing)?;
    serde_json::from_slice(&bytes).or_fail(Exit::Input, doing)
}

/// Whoever waits for the record finds the whole of it, or nothing.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

fn told(counts: &Counts) -> String {
    format!(
        "{} requests, {} acknowledged, {} failed, the slowest took {} ms",
        counts.requests, counts.acknowledged, counts.failed, counts.slowest_ms
    )
}
