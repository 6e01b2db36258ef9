//! Live traffic in the shadow: what a share of the clients ask is asked of the shadow too, and its answers are compared.
//!
//! ```text
//! tee --copies--> one thread takes connections apart --requests--> four threads ask the shadow --answers--> tally
//! ```
//!
//! Nobody before this waits for anybody behind: what the shadow is too slow for is not asked, and counted.

mod replay;
mod talk;
mod tally;
mod tap;
mod udp;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use countersign_metadata::node::Same;
use countersign_sandbox::Caller;

use self::replay::Replay;
use self::talk::{Said, Talk};
use self::tally::Tally;
pub use self::tally::{Mirrored, Took};
use self::tap::{Heard, Stop, Tap};
pub use self::udp::Datagrams;
use crate::Home;
use crate::supervise::Share;
use crate::supervise::tee::wire::{Frame, What};

/// Threads that ask: one live connection is always the same one's, so that its requests stay in order.
const ASKERS: usize = 4;

/// Requests that may wait for each of them.
const BEHIND: usize = 256;

/// How long what waits is asked still, after the end.
const LATE: Duration = Duration::from_secs(3);

/// Live connections whose copies are kept apart at once.
const TALKS: usize = 4096;

/// What is mirrored where.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) home: Home,
    pub(super) share: Share,
    /// The node's sockets as they are in the shadow.
    pub(super) sockets: BTreeMap<String, SocketAddr>,
    /// Which answers are the same.
    pub(super) same: Same,
    /// UDP ports that are mirrored too.
    pub(super) udp: Vec<u16>,
}

enum Job {
    Ask(u64, SocketAddr, Said),
    End(u64),
}

/// What the threads have in common.
struct Shared {
    sockets: BTreeMap<String, SocketAddr>,
    tally: Mutex<Tally>,
    /// Set at the end: when asking ends.
    until: OnceLock<Instant>,
}

/// Live traffic that is being mirrored. Dropped, it ends by itself.
pub(super) struct Mirror {
    shared: Arc<Shared>,
    stop: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Mirror {
    /// Begins to mirror to the shadow, and to a copy of the old version if there is one.
    ///
    /// # Errors
    /// There is no tee: the section of the report that says why.
    pub(super) fn begin(
        plan: &Plan,
        new: &Caller,
        old: Option<&Caller>,
    ) -> Result<Self, Box<Mirrored>> {
        let nothing = |why| Box::new(Mirrored::nothing(plan.share, why));
        let tap = Tap::open(&plan.home, plan.share).map_err(nothing)?;
        let stop = tap.stop().map_err(|error| nothing(error.to_string()))?;
        let shared = Arc::new(Shared {
            sockets: plan.sockets.clone(),
            tally: Mutex::new(Tally::new(plan.share, tap.left_out(), &plan.same)),
            until: OnceLock::new(),
        });
        let (mut threads, mut askers) = (Vec::new(), Vec::new());
        for _ in 0..ASKERS {
            let (jobs, waiting) = sync_channel(BEHIND);
            let copies = (Replay::new(new.clone()), old.cloned().map(Replay::new));
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || ask(&shared, copies, waiting)));
            askers.push(jobs);
        }
        for port in &plan.udp {
            threads.extend(udp::begin(&shared, *port, plan.share, new));
        }
        let heard = Arc::clone(&shared);
        threads.push(thread::spawn(move || hear(&heard, tap, &askers)));
        Ok(Self { shared, stop, threads })
    }

    /// Ends it. What waits to be asked is asked for a moment more.
    pub(super) fn end(self) -> Mirrored {
        let Self { shared, stop, threads } = self;
        let _first = shared.until.set(Instant::now() + LATE);
        drop(stop);
        for thread in threads {
            let _it_has_counted = thread.join();
        }
        let mut tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *tally).finish()
    }
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Takes apart what the tee tells, until it ends.
fn hear(shared: &Shared, mut tap: Tap, askers: &[SyncSender<Job>]) {
    let mut talks = BTreeMap::new();
    loop {
        match tap.next() {
            Heard::Nothing => {}
            Heard::Frame(frame) => heard(shared, &mut talks, frame, askers),
            Heard::End(why) => {
                let early = shared.until.get().is_none();
                let why = why.unwrap_or_else(|| "the tee ended".to_owned());
                return shared.count(|tally| {
                    if early {
                        tally.trouble(why);
                    }
                });
            }
        }
    }
}

fn heard(
    shared: &Shared,
    talks: &mut BTreeMap<u64, Talk>,
    frame: Frame,
    askers: &[SyncSender<Job>],
) {
    let Frame { connection, at, what } = frame;
    let asker = usize::try_from(connection).unwrap_or_default() % askers.len();
    match &what {
        What::Counts(taken, lost) => return shared.count(|tally| tally.connections(*taken, *lost)),
        What::Open(socket) => {
            shared.count(Tally::opened);
            if talks.len() < TALKS {
                talks.insert(connection, Talk::new(socket.clone()));
            }
            return;
        }
        _ => {}
    }
    let Some(talk) = talks.get_mut(&connection) else { return };
    let said = talk.hear(&what, at);
    if let Some(address) = shared.sockets.get(&talk.socket) {
        for said in said {
            if askers[asker].try_send(Job::Ask(connection, *address, said)).is_err() {
                shared.count(|tally| tally.not_asked(1));
            }
        }
    }
    if let Some(why) = talk.given_up() {
        shared.count(|tally| tally.not_compared(why));
    }
    if talk.is_over() {
        talks.remove(&connection);
        // A full box keeps one connection open a little longer.
        let _room_or_not = askers[asker].try_send(Job::End(connection));
    }
}

/// Asks what there is to ask, until nobody brings more.
fn ask(
    shared: &Shared,
    (mut new, mut old): (Replay<Caller>, Option<Replay<Caller>>),
    jobs: Receiver<Job>,
) {
    for job in jobs {
        match job {
            Job::End(connection) => {
                new.end(connection);
                old.iter_mut().for_each(|old| old.end(connection));
            }
            Job::Ask(..) if shared.until.get().is_some_and(|until| *until < Instant::now()) => {
                shared.count(|tally| tally.not_asked(1));
            }
            Job::Ask(connection, address, said) => {
                let new = new.ask(connection, address, &said);
                let old = old.as_mut().map(|old| old.ask(connection, address, &said));
                shared.count(|tally| tally.answered(&said, &new, old.as_ref()));
            }
        }
    }
}
