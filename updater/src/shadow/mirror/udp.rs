//! Datagrams in the shadow: a share of the clients of a declared UDP port is overheard, and the shadow is sent the same.
//!
//! Nothing stands between clients and the node: the kernel copies packets for whoever may see them (`CAP_NET_RAW`).

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, sync::Arc};

use countersign_sandbox::{Caller, Datagram, Overhearing};
use serde::{Deserialize, Serialize};

use super::{BEHIND, Shared};
use crate::supervise::Share;
use crate::trust_store::chain;

/// How long an answer may take, of the live node and of the shadow.
const PATIENCE: Duration = Duration::from_millis(500);

/// Clients that are kept apart at once, and what of each may wait for its answer.
const CLIENTS: usize = 1024;
const WAITING: usize = 16;

/// What was overheard at one UDP port, and how the shadow's answers compare with the live node's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datagrams {
    /// The port.
    pub port: u16,
    /// Why nothing was mirrored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Datagrams of sampled clients.
    pub requests: u64,
    /// Datagrams that were lost before they were looked at, or that the shadow was too far behind for.
    pub dropped: u64,
    /// Those that the live node answered.
    pub answered: u64,
    /// Those of them to which the shadow gave no answer.
    pub unanswered: u64,
    /// Those of them to which it gave another one.
    pub differing: u64,
}

/// A datagram, and what the live node said to it in time.
struct Job {
    client: SocketAddr,
    request: Vec<u8>,
    answer: Option<Vec<u8>>,
}

/// Begins to overhear a port, for as long as `shared` says.
pub(super) fn begin(
    shared: &Arc<Shared>,
    port: u16,
    share: Share,
    new: &Caller,
) -> Vec<JoinHandle<()>> {
    // It is in the report even if nothing comes.
    shared.count(|tally| _ = tally.datagrams(port));
    let overhearing = match Overhearing::of_port(port) {
        Ok(overhearing) => overhearing,
        Err(error) => {
            shared.count(|tally| tally.datagrams(port).trouble = Some(chain(&error)));
            return Vec::new();
        }
    };
    let (jobs, waiting) = sync_channel(BEHIND);
    let (hearing, asking, new) = (Arc::clone(shared), Arc::clone(shared), new.clone());
    vec![
        thread::spawn(move || hear(&hearing, port, share, overhearing, &jobs)),
        thread::spawn(move || ask(&asking, port, &new, waiting)),
    ]
}

fn hear(
    shared: &Shared,
    port: u16,
    share: Share,
    mut overhearing: Overhearing,
    jobs: &SyncSender<Job>,
) {
    let sampled = RandomState::new();
    let limit = u64::from(u32::from(share));
    let is_sampled = |client: SocketAddr| sampled.hash_one(client) % 1_000_000 < limit;
    let mut clients: HashMap<SocketAddr, VecDeque<(Vec<u8>, Instant)>> = HashMap::new();
    let hand_on = |client, request, answer| {
        if jobs.try_send(Job { client, request, answer }).is_err() {
            shared.count(|tally| tally.datagrams(port).dropped += 1);
        }
    };
    let mut swept = Instant::now();
    while shared.until.get().is_none() {
        let heard = match overhearing.next(PATIENCE / 4) {
            Ok(heard) => heard,
            Err(error) => {
                return shared.count(|tally| {
                    tally.datagrams(port).trouble = Some(error.to_string());
                });
            }
        };
        let now = Instant::now();
        if let Some(Datagram { from, to, content }) = heard {
            if to.port() != port {
                let asked = clients.get_mut(&to).and_then(VecDeque::pop_front);
                if let Some((request, _)) = asked {
                    hand_on(to, request, Some(content));
                }
            } else if is_sampled(from) {
                shared.count(|tally| tally.datagrams(port).requests += 1);
                if clients.len() < CLIENTS || clients.contains_key(&from) {
                    clients.entry(from).or_default().push_back((content, now));
                }
            }
        }
        if swept.elapsed() > PATIENCE / 4 {
            swept = now;
            for (client, waiting) in &mut clients {
                let late = |(_, at): &(Vec<u8>, Instant)| now.duration_since(*at) > PATIENCE;
                while waiting.len() > WAITING || waiting.front().is_some_and(late) {
                    let Some((request, _)) = waiting.pop_front() else { break };
                    hand_on(*client, request, None);
                }
            }
            clients.retain(|_, waiting| !waiting.is_empty());
            let lost = overhearing.lost().unwrap_or_default();
            shared.count(|tally| tally.datagrams(port).dropped += lost);
        }
    }
}

fn ask(shared: &Shared, port: u16, new: &Caller, jobs: Receiver<Job>) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // One socket for each client, so that the shadow can tell them apart too.
    let mut sockets: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    for Job { client, request, answer } in jobs {
        if shared.until.get().is_some_and(|until| *until < Instant::now()) {
            shared.count(|tally| tally.datagrams(port).dropped += 1);
            continue;
        }
        if sockets.len() > 64 && !sockets.contains_key(&client) {
            sockets.clear();
        }
        let said = match sockets.remove(&client).map_or_else(|| new.datagrams(address), Ok) {
            Err(_) => None,
            Ok(socket) => {
                let said = exchange(&socket, &request, answer.is_some()).ok();
                sockets.insert(client, socket);
                said
            }
        };
        let Some(answer) = answer else { continue };
        shared.count(|tally| {
            let seen = tally.datagrams(port);
            seen.answered += 1;
            match said {
                None => seen.unanswered += 1,
                Some(said) => seen.differing += u64::from(said != answer),
            }
        });
    }
}

fn exchange(socket: &UdpSocket, request: &[u8], answered: bool) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    // What came late answers something else.
    socket.set_nonblocking(true)?;
    while socket.recv(&mut buffer).is_ok() {}
    socket.set_nonblocking(false)?;
    socket.send(request)?;
    if !answered {
        return Ok(Vec::new());
    }
    socket.set_read_timeout(Some(PATIENCE))?;
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}
