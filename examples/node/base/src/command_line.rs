//! The command line: four verbs and their flags.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::checkpoint::Checkpoint;
use crate::failure::{Failure, Outcome, USAGE};
use crate::migrate::Migrate;
use crate::peer::Exchange;
use crate::release;
use crate::serve::Serve;
use crate::state::Area;

/// What was asked for.
pub(crate) enum Verb {
    Serve(Serve),
    Checkpoint(Checkpoint),
    Migrate(Migrate),
    Exchange(Exchange),
    Say(String),
}

const HELP: &str = "\
A small key-value node over HTTP, to be released and updated.

  examplenode serve --state DIR [--listen ADDR]
      Takes the listening socket named `http` from LISTEN_FDS; without one, listens on ADDR.
      PUT, GET and DELETE /kv/KEY; GET /node/version; GET /stats.
  examplenode checkpoint --state DIR --to EMPTY_DIR
      Writes a consistent copy of the state, whether the node runs or not.
  examplenode migrate --area AREA --state DIR --from N --to M
      Brings an area (values, counters) from one schema to another. The node must not run.
  examplenode exchange --own ADDR --peer ADDR
      Gives a value to the node at --peer, and what it answers to the one at --own.
  examplenode --version | --help

By hand:
  examplenode serve --state /tmp/node --listen 127.0.0.1:8080 &
  curl -X PUT --data hello http://127.0.0.1:8080/kv/greeting
  curl http://127.0.0.1:8080/kv/greeting

Exit codes: 0 done, 2 command line, 3 state or input, 7 the machine refused, 8 the state is in use.";

/// Reads the words after the program's name.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Outcome<Verb> {
    let mut words = words;
    let verb = words.next().unwrap_or_else(|| "--help".to_owned());
    let mut flags = match verb.as_str() {
        "serve" => Flags::read(words, &["--state", "--listen"])?,
        "checkpoint" => Flags::read(words, &["--state", "--to"])?,
        "migrate" => Flags::read(words, &["--area", "--state", "--from", "--to"])?,
        "exchange" => {
            let mut flags = Flags::read(words, &["--own", "--peer"])?;
            let mut address =
                |name| flags.address(name)?.ok_or_else(|| usage(format!("{name} is missing")));
            return Ok(Verb::Exchange(Exchange {
                own: address("--own")?,
                peer: address("--peer")?,
            }));
        }
        "--help" | "-h" | "help" => return Ok(Verb::Say(HELP.to_owned())),
        "--version" | "-V" => return Ok(Verb::Say(format!("examplenode {}", release::VERSION))),
        other => return Err(usage(format!("there is no verb {other:?}; see examplenode --help"))),
    };
    let state = PathBuf::from(flags.take("--state")?);
    Ok(match verb.as_str() {
        "serve" => Verb::Serve(Serve { state, listen: flags.address("--listen")? }),
        "checkpoint" => {
            Verb::Checkpoint(Checkpoint { state, to: PathBuf::from(flags.take("--to")?) })
        }
        _ => {
            let name = flags.take("--area")?;
            let area = Area::from_name(&name).ok_or_else(|| {
                usage(format!("there is no area {name:?}; there are values and counters"))
            })?;
            let (from, to) = (flags.number("--from")?, flags.number("--to")?);
            Verb::Migrate(Migrate { area, state, from, to })
        }
    })
}

struct Flags(BTreeMap<String, String>);

impl Flags {
    fn read(mut words: impl Iterator<Item = String>, known: &[&str]) -> Outcome<Self> {
        let mut flags = BTreeMap::new();
        while let Some(name) = words.next() {
            if !known.contains(&name.as_str()) {
                return Err(usage(format!("there is no flag {name:?} here")));
            }
            let value = words.next().ok_or_else(|| usage(format!("{name} needs a value")))?;
            if flags.insert(name.clone(), value).is_some() {
                return Err(usage(format!("{name} is given twice")));
            }
        }
        Ok(Self(flags))
    }

    fn take(&mut self, name: &str) -> Outcome<String> {
        self.0.remove(name).ok_or_else(|| usage(format!("{name} is missing")))
    }

    fn number(&mut self, name: &str) -> Outcome<u32> {
        let text = self.take(name)?;
        text.parse().map_err(|_| usage(format!("{name} takes a schema number, not {text:?}")))
    }

    fn address(&mut self, name: &str) -> Outcome<Option<SocketAddr>> {
        let Some(text) = self.0.remove(name) else { return Ok(None) };
        let parsed = text.parse();
        parsed.map(Some).map_err(|_| usage(format!("{name} takes IP:PORT, not {text:?}")))
    }
}

fn usage(sentence: String) -> Failure {
    Failure::new(USAGE, sentence)
}
