//! New and old version meet: an exchange that the release declares, begun once from each side.
//!
//! ```text
//! new node <--relay--> 198.19.0.1 [who begins] 198.19.0.2 <--relay--> old node
//! ```
//!
//! There are three sandboxes, and in the network of each both nodes have an address. Behind it is a door: the bytes of
//! connections to the two declared sockets pass, and nothing else does. So neither version is the other's neighbour in anything
//! but that: they share no processes, users, files, sockets or counters, as root and as a plain user alike, and each one's
//! eye still says what that version alone tried to reach.
//!
//! Why not one network namespace for both? The bounds on namespaces that a plain user's sandbox sets for its payload
//! forbid a second sandbox to move in, abstract sockets would be shared, and nobody could say which of the two had tried
//! to reach the world.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use countersign_metadata::node::{MeetSpec, fill};
use countersign_sandbox::{Ended, Error, Running, Sandbox};

use super::beside::{Old, Prepared};
use super::judge::exit_text;
use super::measures::Beside;
use super::meeting::{Meeting, Pair, Protocols};
use super::relay::{Door, Relay};
use super::report::millis;
use super::room::Room;
use super::watch::{Lane, Plan, Seen};
use super::{ShadowError, plan, tail};
use crate::Config;
use crate::durable::{self, DiskError, OnDisk};
use crate::generation::Generation;
use crate::trust_store::chain;

/// Where the new node and the old one are, in every sandbox of a meeting: addresses set aside for tests of networks (RFC 2544).
const ADDRESSES: [[u8; 4]; 2] = [[198, 19, 0, 1], [198, 19, 0, 2]];

/// The port of both, or the next one at which neither version listens: one may listen at every address.
const PORT: u16 = 7000;

/// Between two looks at whoever began.
const TICK: Duration = Duration::from_millis(20);

/// One of the two.
struct Party<'a> {
    generation: &'a Generation,
    /// The room of its node, with a log of this meeting.
    room: Room,
    /// Where it listens, in its own sandbox.
    at: SocketAddr,
    /// Where it is in all of them.
    known_as: SocketAddr,
}

/// Lets the release meet the old version, if it declares an exchange and `beside` says that the old one can be run. What the
/// new one tries to reach meanwhile counts as in the long run; what the old one tries does not.
pub(super) fn hold(
    config: &Config,
    spec: Option<&MeetSpec>,
    (new, room): (&Generation, &Room),
    (prepared, beside): (&Prepared<'_>, &Beside),
    seen: &mut Seen,
) -> Result<Option<Meeting>, ShadowError> {
    let Some(spec) = spec else { return Ok(None) };
    let none = |why: String| Ok(Some(Meeting::none(why)));
    let old = match (prepared, beside) {
        (Err(why), _) | (_, Beside::Nothing(why)) => return none(why.clone()),
        (Ok(old), Beside::Version(_)) => old,
    };
    let protocols = new.protocol.zip(old.generation.protocol);
    let protocols = protocols.map(|(new, old)| Protocols { new, old });
    let with = Beside::Version(old.generation.version.clone());
    let mut meeting = Meeting { with, protocols, pairs: Vec::new() };
    if protocols.is_some_and(|protocols| !protocols.overlap()) {
        return Ok(Some(meeting));
    }
    let parties = match parties(spec, new, room, old)? {
        Ok(parties) => parties,
        Err(why) => return none(why),
    };
    let plans = parties
        .each_ref()
        .map(|party| plan(config, &party.generation.launch, config.shadow.window, &party.room.log));
    let [new_party, old_party] = &parties;
    let old_lane = match old_party.start(&plans[1], &parties).map_err(|error| chain(&error)) {
        Ok(Ok(lane)) => lane,
        Ok(Err(why)) | Err(why) => return none(why),
    };
    let new_lane = match new_party.start(&plans[0], &parties)? {
        Ok(lane) => lane,
        Err(trouble) => {
            meeting.pairs.push(Pair { trouble: Some(trouble), ..new_party.pair(old_party) });
            return Ok(Some(meeting));
        }
    };
    let mut relay = Relay::default();
    for lane in [&new_lane, &old_lane] {
        open(&mut relay, &lane.running, &parties)?;
    }
    let mut lanes = [new_lane, old_lane];
    let (pair, ended) = exchange(spec, &parties, 0, &mut lanes, &mut relay)?;
    meeting.pairs.push(pair);
    if let Some(Ended { attempts, unaccounted, .. }) = ended {
        seen.attempts.extend(attempts);
        seen.unaccounted += unaccounted;
    }
    // An old version that declares none would not know what to say.
    if let Some(spec) = &old.meet {
        let (pair, _) = exchange(spec, &parties, 1, &mut lanes, &mut relay)?;
        meeting.pairs.push(pair);
    }
    let [new_lane, _] = lanes;
    let Seen { attempts, unaccounted, .. } = new_lane.finish(Duration::ZERO)?;
    seen.attempts.extend(attempts);
    seen.unaccounted += unaccounted;
    Ok(Some(meeting))
}

/// The new version and the old one; the inner error is why they cannot meet.
fn parties<'a>(
    spec: &MeetSpec,
    new: &'a Generation,
    room: &Room,
    old: &Old<'a>,
) -> Result<Result<[Party<'a>; 2], String>, DiskError> {
    let old_spec = old.meet.as_ref().unwrap_or(spec);
    let taken = |port: u16| {
        let mut sockets = new.launch.listen.iter().chain(&old.generation.launch.listen);
        sockets.any(|(_, address)| address.port() == port)
    };
    let port = (PORT..).find(|port| !taken(*port)).unwrap_or(PORT);
    let sides = [(new, room, &spec.listen), (old.generation, &old.room, &old_spec.listen)];
    let mut all = Vec::new();
    for ((generation, room, socket), address) in sides.into_iter().zip(ADDRESSES) {
        let Some(at) = generation.launch.address(socket) else {
            return Ok(Err(format!("version {} has no socket {socket:?}", generation.version)));
        };
        let room = logged(room, "meet.log")?;
        all.push(Party { generation, room, at, known_as: SocketAddr::from((address, port)) });
    }
    // Of two sides come two parties.
    Ok(all.try_into().map_err(|_| "one of them is missing".to_owned()))
}

/// The same room with another log, which is empty.
fn logged(room: &Room, name: &str) -> Result<Room, DiskError> {
    let log = room.log.with_extension(name);
    durable::append_to(&log)?.set_len(0).on_disk("write", &log)?;
    Ok(Room { log, ..room.clone() })
}

impl Party<'_> {
    /// Starts its node; the inner error is why it cannot meet anybody.
    fn start<'p>(
        &self,
        plan: &'p Plan,
        parties: &[Party<'_>; 2],
    ) -> Result<Result<Lane<'p>, String>, ShadowError> {
        let sandbox = with_doors(self.room.node(&self.generation.launch)?, parties);
        Ok(Lane::start(sandbox, plan)?.fit())
    }

    fn pair(&self, with: &Party<'_>) -> Pair {
        Pair {
            begun_by: self.generation.version.clone(),
            with: with.generation.version.clone(),
            exit: None,
            trouble: None,
            took_ms: 0,
            output_end: String::new(),
        }
    }
}

fn with_doors(sandbox: Sandbox, parties: &[Party<'_>; 2]) -> Sandbox {
    parties.iter().fold(sandbox, |sandbox, party| sandbox.door(party.known_as))
}

/// Lets the relay have a sandbox's doors.
fn open(
    relay: &mut Relay,
    running: &Running,
    parties: &[Party<'_>; 2],
) -> Result<(), countersign_sandbox::Error> {
    for (node, party) in parties.iter().enumerate() {
        let Party { at, known_as, .. } = *party;
        let listener = running.door(known_as)?;
        let failed = |source| Error::Network { address: known_as.to_string(), source };
        relay.add(Door { listener, node, at }).map_err(failed)?;
    }
    Ok(())
}

/// One exchange, begun by one of the parties; and how its command ended, if it ran.
fn exchange(
    spec: &MeetSpec,
    parties: &[Party<'_>; 2],
    begins: usize,
    lanes: &mut [Lane<'_>; 2],
    relay: &mut Relay,
) -> Result<(Pair, Option<Ended>), ShadowError> {
    let (own, peer) = (&parties[begins], &parties[1 - begins]);
    let (own_address, peer_address) = (own.known_as.to_string(), peer.known_as.to_string());
    let words = fill(&spec.command, &[("own", &own_address), ("peer", &peer_address)]);
    let room = logged(&own.room, "exchange.log")?;
    let within = Duration::from_secs(spec.within.into());
    let sandbox = with_doors(room.visitor(&own.generation.launch, &words, within)?, parties);
    let began = Instant::now();
    let mut running = match sandbox.spawn() {
        Ok(running) => running,
        Err(error @ Error::Program { .. }) => {
            return Ok((Pair { trouble: Some(chain(&error)), ..own.pair(peer) }, None));
        }
        Err(error) => return Err(error.into()),
    };
    let doors = relay.doors();
    match open(relay, &running, parties) {
        Err(error) if running.has_exited().is_none() => return Err(error.into()),
        // It was quick, and has spoken to nobody.
        Ok(()) | Err(_) => {}
    }
    // It is killed at its limit, so this ends.
    while running.has_exited().is_none() {
        relay.turn([&lanes[0].running, &lanes[1].running], TICK);
    }
    relay.keep(doors);
    let ended = running.wait()?;
    let trouble = parties.iter().zip(lanes).find_map(|(party, lane)| {
        let exit = lane.running.has_exited()?;
        let version = &party.generation.version;
        Some(format!("the node of version {version} ended by itself, with {}", exit_text(exit)))
    });
    let (exit, took_ms) = (Some(ended.exit), millis(began.elapsed()));
    let pair = Pair { exit, trouble, took_ms, output_end: tail(&room.log)?, ..own.pair(peer) };
    Ok((pair, Some(ended)))
}
