//! The agent's end of the tee: asks the supervisor for one, hears it, and keeps asking while it is wanted.

use std::fs;
use std::io::{self, BufReader};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::Home;
use crate::shadow::watch::pause;
use crate::supervise::tee::wire::{self, Frame, What};
use crate::supervise::{Client, ClientError, Reply, Request, Share};
use crate::trust_store::chain;

/// How long the supervisor may have reasons not to begin: longer than a tee listens on.
const PATIENCE: Duration = Duration::from_secs(12);

/// How long the tee may take to begin.
const BEGINS: Duration = Duration::from_secs(10);

/// How long it goes on without being asked.
const LEASE: Duration = Duration::from_secs(15);

/// How often it is asked.
const RENEW: Duration = Duration::from_secs(5);

/// A tee that tells this process what clients and the node say.
pub(super) struct Tap {
    client: Client,
    share: Share,
    from: BufReader<UnixStream>,
    renewed: Instant,
    left_out: Vec<(String, String)>,
}

/// Ends a [`Tap`] from another thread when it is dropped: nothing more is mirrored, and nothing more heard.
pub(super) struct Stop(UnixStream, Client);

/// What came.
pub(super) enum Heard {
    Frame(Frame),
    Nothing,
    /// It has ended, and why where that is known.
    End(Option<String>),
}

impl Tap {
    /// Nothing is mirrored before this says so.
    ///
    /// # Errors
    /// Why nothing is, to a person.
    pub(super) fn open(home: &Home, share: Share) -> Result<Self, String> {
        let path = home.mirror_socket();
        // One agent at a time: what is there was left by one that is gone.
        let _not_there = fs::remove_file(&path);
        let private = |listener| {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map(|()| listener)
        };
        let listener = UnixListener::bind(&path).and_then(private);
        let listener = listener.map_err(|error| format!("cannot listen to the tee: {error}"))?;
        let opened = Self::begin(home, share, &listener);
        let _gone = fs::remove_file(&path);
        opened
    }

    fn begin(home: &Home, share: Share, listener: &UnixListener) -> Result<Self, String> {
        let client = Client::new(home);
        let deadline = Instant::now() + PATIENCE;
        let asked = loop {
            match client.ask(request(share)) {
                // A node that is just not ready, or a tee before this one that is just not gone.
                Err(ClientError::Refused { .. }) if Instant::now() < deadline => {
                    pause(Duration::from_millis(200));
                }
                asked => break asked,
            }
        };
        let left_out = match asked {
            Ok(Reply::Mirroring { left_out }) => left_out,
            Ok(_) => return Err("the supervisor answered another question".to_owned()),
            Err(error) => return Err(chain(&error)),
        };
        let opened = accept(listener).and_then(|stream| {
            stream.set_read_timeout(Some(BEGINS))?;
            let mut from = BufReader::with_capacity(256 << 10, stream);
            Ok((wire::read(&mut from)?.map(|frame| frame.what), from))
        });
        let from = match opened {
            Ok((Some(What::Hello), from)) => Ok(from),
            Ok((Some(What::Trouble(why)), _)) => Err(why),
            Ok(_) => Err("the tee ended before it began".to_owned()),
            Err(error) => Err(format!("the tee did not begin: {error}")),
        };
        match from {
            Ok(from) => Ok(Self { client, share, from, renewed: Instant::now(), left_out }),
            Err(why) => {
                let _as_it_was = client.ask(Request::Unmirror);
                Err(why)
            }
        }
    }

    /// Sockets of the node that are not mirrored, and why.
    pub(super) fn left_out(&self) -> &[(String, String)] {
        &self.left_out
    }

    pub(super) fn stop(&self) -> io::Result<Stop> {
        Ok(Stop(self.from.get_ref().try_clone()?, self.client.clone()))
    }

    /// Waits a moment for what comes next.
    pub(super) fn next(&mut self) -> Heard {
        if self.renewed.elapsed() > RENEW {
            self.renewed = Instant::now();
            if let Err(error) = self.client.ask(request(self.share)) {
                return Heard::End(Some(chain(&error)));
            }
        }
        let stream = self.from.get_ref();
        if self.from.buffer().is_empty() && !is_readable(stream, Duration::from_millis(500)) {
            return Heard::Nothing;
        }
        match wire::read(&mut self.from) {
            Ok(Some(frame)) => Heard::Frame(frame),
            Ok(None) => Heard::End(None),
            Err(error) => Heard::End(Some(format!("the tee is not understood: {error}"))),
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        let _it_runs_out_by_itself = self.1.ask(Request::Unmirror);
        let _gone = self.0.shutdown(Shutdown::Both);
    }
}

fn request(share: Share) -> Request {
    let for_ms = u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX);
    Request::Mirror { share, for_ms }
}

fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    if !is_readable(listener, BEGINS) {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(listener.accept()?.0)
}

fn is_readable(fd: &impl AsFd, within: Duration) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::ZERO);
    poll(&mut fds, within).is_ok_and(|ready| ready > 0)
}
