//! The example node without exclusive state: each value is a file of its own, so that two versions may serve at once.
//!
//! The wire and the workers are those of the other releases; what they answer lies in the file system alone.

mod failure;
mod http;
mod notify;
mod release;
mod socket;
mod worker;

/// What the wire must know of the state.
mod state {
    /// Longest value, in bytes.
    pub(crate) const MAX_VALUE: usize = 64 << 10;
}

mod api {
    //! `GET` and `PUT` of values; a value is on the disk before it is acknowledged.

    use std::fs::{self, File};
    use std::io::{ErrorKind, Result, Write};
    use std::path::{Path, PathBuf};

    use crate::http::{Request, Response};
    use crate::release;

    /// Answers requests; one for each worker.
    pub(crate) struct Api<'a> {
        pub(crate) values: &'a Path,
        /// A file that no other worker writes, of this process or of another.
        pub(crate) scratch: PathBuf,
    }

    impl Api<'_> {
        pub(crate) fn answer(&self, request: Request) -> Response {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b":_-".contains(&b);
            match (request.method.as_str(), request.path.strip_prefix("/kv/")) {
                ("GET", None) if request.path == "/node/version" => Response::json(format!(
                    "{{\"product\":\"examplenode\",\"version\":\"{}\"}}",
                    release::VERSION
                )),
                (method, Some(key)) if !key.is_empty() && key.bytes().all(plain) => {
                    let path = self.values.join(key);
                    match method {
                        "GET" => match fs::read(path) {
                            Ok(value) => Response::bytes(value),
                            Err(error) if error.kind() == ErrorKind::NotFound => {
                                Response::text(404, "no such key")
                            }
                            Err(error) => Response::text(500, &error.to_string()),
                        },
                        "PUT" => match self.write(&path, &request.body) {
                            Ok(()) => Response::text(200, "written"),
                            Err(error) => Response::text(500, &error.to_string()),
                        },
                        _ => Response::text(405, "a key takes GET and PUT"),
                    }
                }
                _ => Response::text(404, "there are /kv/KEY and /node/version"),
            }
        }

        fn write(&self, path: &Path, value: &[u8]) -> Result<()> {
            let mut file = File::create(&self.scratch)?;
            file.write_all(value)?;
            file.sync_all()?;
            fs::rename(&self.scratch, path)?;
            File::open(self.values)?.sync_all()
        }
    }
}

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use failure::{Failure, OrFail, Outcome, USAGE, tell};

const WORKERS: usize = 32;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", "--state", state] => serve(state.into(), None),
        // Without a supervisor, as a service manager would start and stop it.
        ["serve", "--state", state, "--listen", address] => match address.parse() {
            Ok(address) => serve(state.into(), Some(address)),
            Err(_) => Err(Failure::new(USAGE, "--listen takes IP:PORT")),
        },
        _ => Err(Failure::new(USAGE, "examplenode serve --state DIR [--listen IP:PORT]")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tell(&format!("error: {failure}"));
            ExitCode::from(failure.code)
        }
    }
}

fn serve(state: PathBuf, by_hand: Option<SocketAddr>) -> Outcome<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.thread_block().or_fail("set up signals")?;
    let stop = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC).or_fail("set up signals")?;
    let [values, scratch] = ["values", "scratch"].map(|name| state.join(name));
    for directory in [&values, &scratch] {
        fs::create_dir_all(directory).or_fail("make the state")?;
    }
    let door = worker::Door {
        listener: Mutex::new(socket::take(by_hand)?),
        stop: &stop,
        stopping: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        for number in 0..WORKERS {
            let scratch = scratch.join(format!("{}-{number}", std::process::id()));
            let (door, values) = (&door, &values);
            scope.spawn(move || {
                let api = api::Api { values, scratch };
                if let Err(failure) = worker::run(door, &api) {
                    tell(&format!("error: {failure}"));
                    std::process::exit(i32::from(failure.code));
                }
            });
        }
        let ready = notify::notify("READY=1").and_then(|()| wait(&stop));
        door.stopping.store(true, Ordering::Release);
        ready
    })
}

fn wait(stop: &SignalFd) -> Outcome<()> {
    loop {
        match poll(&mut [PollFd::new(stop.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop).or_fail("wait for a signal"),
        }
    }
}
