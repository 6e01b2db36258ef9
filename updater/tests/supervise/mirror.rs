//! The tee before a real node: who goes through it, what it does to them, and what is left when somebody fails.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::clients::{CAP, Clients, until};
use crate::tiny::{Tiny, get};
use countersign_updater::supervise::{ClientError, Phase, Reply, Request, Share};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LONG: u64 = 60_000;
const HOLD: Request = Request::Stop { hold_ms: LONG };
const START: Request = Request::Start { ready_ms: LONG };

fn mirror(percent: u32, for_ms: u64) -> Request {
    Request::Mirror { share: Share::try_from(percent * 10_000).unwrap(), for_ms }
}

/// The agent's side of a tee that listens.
struct Agent {
    stream: UnixStream,
}

/// What a tee told.
#[derive(Default)]
struct Told {
    opened: usize,
    lost: usize,
    /// By connection and way.
    bytes: BTreeMap<(u64, u8), Vec<u8>>,
}

impl Agent {
    fn begin(node: &Tiny, percent: u32, for_ms: u64) -> Self {
        let path = node.home.mirror_socket();
        let _first = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let asked = node.client().ask(mirror(percent, for_ms)).unwrap();
        assert_eq!(asked, Reply::Mirroring { left_out: vec![] });
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(CAP)).unwrap();
        let mut agent = Self { stream };
        let (kind, _, _, payload) = agent.frame().unwrap();
        assert_eq!(kind, 0, "{}", String::from_utf8_lossy(&payload));
        agent
    }

    /// Kind, way, connection, payload.
    fn frame(&mut self) -> io::Result<(u8, u8, u64, Vec<u8>)> {
        let mut head = [0; 22];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_le_bytes(head[18..].try_into().unwrap());
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload)?;
        Ok((head[0], head[1], u64::from_le_bytes(head[2..10].try_into().unwrap()), payload))
    }

    /// Hears all the while.
    fn listen(mut self) -> Arc<Mutex<Told>> {
        let told = Arc::new(Mutex::new(Told::default()));
        let ours = Arc::clone(&told);
        thread::spawn(move || {
            while let Ok((kind, way, connection, payload)) = self.frame() {
                let mut told = ours.lock().unwrap();
                match kind {
                    1 => told.opened += 1,
                    2 => told.bytes.entry((connection, way)).or_default().extend(payload),
                    5 => told.lost += 1,
                    _ => {}
                }
            }
        });
        told
    }
}

/// The tee's own process: a child of the supervisor's that is not the node.
fn tee(node: &Tiny) -> i32 {
    let status = node.client().status().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", status.supervisor);
    let children = fs::read_to_string(children).unwrap();
    let mut others = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    others.find(|pid| Some(*pid) != status.pid).unwrap()
}

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

fn ended(node: &Tiny) {
    node.until_status(|status| status.mirrored.is_none());
}

/// Bytes that do not repeat soon.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_le_bytes()[6]
    };
    (0..length).map(next).collect()
}

fn connect(node: &Tiny) -> TcpStream {
    let stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(CAP)).unwrap();
    stream
}

/// Sends all and hears all back, at the same time, and the end after it.
fn echoed(node: &Tiny, bytes: &[u8]) {
    let stream = connect(node);
    thread::scope(|scope| {
        scope.spawn(|| {
            (&stream).write_all(bytes).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        (&stream).read_to_end(&mut back).unwrap();
        assert!(back == bytes, "{} of {} bytes came back", back.len(), bytes.len());
    });
}

#[test]
fn the_tee_takes_its_share_of_connections_and_every_one_is_answered() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    let told = Agent::begin(&node, 10, LONG).listen();
    let four = |count: usize| {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..count).for_each(|_| get(node.address).unwrap()));
            }
        });
    };
    four(1000);
    assert_eq!(node.client().ask(Request::Unmirror).unwrap(), Reply::Done);
    ended(&node);
    // Binomial(4000, 0.1): the band is six deviations wide on either side.
    let opened = told.lock().unwrap().opened;
    assert!((286..=514).contains(&opened), "{opened} of 4000");
    four(100);
    assert_eq!(told.lock().unwrap().opened, opened, "nothing goes through it any more");
    supervisor.terminate();
}

#[test]
fn what_goes_through_the_tee_comes_out_byte_for_byte_and_so_do_the_copies() {
    let node = Tiny::new(&["--echo"]);
    let mut supervisor = node.supervise(&[]);
    let told = Agent::begin(&node, 100, LONG).listen();
    for length in [0, 1, 70_000, 500_000] {
        echoed(&node, &noise(length));
    }
    let bytes = || told.lock().unwrap().bytes.clone();
    until(|| bytes().values().map(Vec::len).sum::<usize>() == 2 * (1 + 70_000 + 500_000));
    assert!(bytes().values().all(|copy| *copy == noise(copy.len())));

    // A client that sends and sends before it reads: it is held back, as by the node, and nothing is lost.
    let (stream, sent) = (connect(&node), noise(64 << 20));
    stream.set_nonblocking(true).unwrap();
    let taken = |from: usize| match (&stream).write(&sent[from..]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        written => Some(written.unwrap()),
    };
    let mut sum = 0;
    until(|| {
        while let Some(written) = taken(sum) {
            sum += written;
        }
        // Whoever holds it back does so within a few buffers' time.
        sum > 1 << 20
    });
    assert!(sum < sent.len(), "nobody held it back");
    stream.set_nonblocking(false).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    (&stream).read_to_end(&mut back).unwrap();
    assert!(back == sent[..sum], "{} of {sum} bytes came back", back.len());
    supervisor.terminate();
}

#[test]
fn an_abrupt_end_is_one_for_the_other_side_too() {
    let node = Tiny::new(&["--echo"]);
    let mut supervisor = node.supervise(&[]);
    let told = Agent::begin(&node, 100, LONG).listen();
    let resets = || fs::read_to_string(node.home.state(1).join("resets")).unwrap_or_default().len();
    let mut stream = connect(&node);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &now).unwrap();
    drop(stream);
    until(|| resets() == 1);
    // And the other way.
    let mut stream = connect(&node);
    stream.write_all(b"R").unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(told.lock().unwrap().opened, 2);
    supervisor.terminate();
}

#[test]
fn an_agent_that_hears_nothing_costs_copies_and_no_connection() {
    let node = Tiny::new(&["--echo"]);
    let mut supervisor = node.supervise(&[]);
    let agent = Agent::begin(&node, 100, LONG);
    for _ in 0..8 {
        echoed(&node, &noise(3 << 20));
    }
    // It wakes up, and hears that there was more.
    let told = agent.listen();
    until(|| told.lock().unwrap().lost > 0);
    echoed(&node, &noise(1000));
    until(|| told.lock().unwrap().bytes.values().filter(|copy| copy.len() == 1000).count() == 2);
    supervisor.terminate();
}

#[test]
fn the_tee_goes_when_its_agent_does_and_when_nobody_asks_for_it_any_more() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    drop(Agent::begin(&node, 100, LONG));
    let clients = Clients::start(node.address, 2);
    // What it has it carries; then it is gone, and the supervisor knows.
    ended(&node);
    let told = Agent::begin(&node, 100, 200).listen();
    ended(&node);
    clients.wait_for(50);
    let (_, failed) = clients.stop();
    assert_eq!(failed, Vec::<String>::new());
    assert!(told.lock().unwrap().opened > 0);
    supervisor.terminate();
}

#[test]
fn a_tee_that_is_killed_breaks_its_own_connections_and_no_other() {
    let node = Tiny::new(&["--echo"]);
    let mut supervisor = node.supervise(&[]);
    let mut beside = connect(&node);
    beside.write_all(b"a").unwrap();
    beside.read_exact(&mut [0]).unwrap();
    let _told = Agent::begin(&node, 100, LONG).listen();
    let mut through = connect(&node);
    through.write_all(b"b").unwrap();
    through.read_exact(&mut [0]).unwrap();
    signal(tee(&node), Signal::SIGKILL);
    ended(&node);
    assert!(!matches!(through.read(&mut [0]), Ok(1..)), "it went through the tee");
    beside.write_all(b"c").unwrap();
    beside.read_exact(&mut [0]).unwrap();
    for _ in 0..50 {
        echoed(&node, b"new");
    }
    supervisor.terminate();
}

#[test]
fn a_tee_that_stands_still_gets_no_new_connections_and_goes_on_with_what_it_has() {
    let node = Tiny::new(&["--echo"]);
    let mut supervisor = node.supervise(&[]);
    let _told = Agent::begin(&node, 100, LONG).listen();
    let stopped = tee(&node);
    signal(stopped, Signal::SIGSTOP);
    let mut held = connect(&node);
    held.write_all(b"x").unwrap();
    ended(&node);
    for _ in 0..50 {
        echoed(&node, b"new");
    }
    signal(stopped, Signal::SIGCONT);
    held.read_exact(&mut [0]).unwrap();
    supervisor.terminate();
}

#[test]
fn a_swap_ends_the_mirroring_first_and_no_request_fails() {
    let node = Tiny::new(&[]);
    let second = node.generation(2, "2.0.0", &[]);
    let mut supervisor = node.supervise(&[]);
    let clients = Clients::start(node.address, 4);
    let told = Agent::begin(&node, 50, LONG).listen();
    clients.wait_for(100);
    let refused = node.client().ask(Request::Replace).unwrap_err();
    assert!(refused.to_string().contains("mirrored"), "{refused}");
    assert_eq!(node.client().ask(HOLD).unwrap(), Reply::Stopped);
    assert_eq!(node.client().status().unwrap().mirrored, None);
    let refused = node.client().ask(mirror(50, LONG)).unwrap_err();
    assert!(matches!(refused, ClientError::Refused { by_node: false, .. }), "{refused}");
    node.point_to(second);
    assert_eq!(node.client().ask(START).unwrap(), Reply::Ready);
    clients.wait_for(100);
    let (sent, failed) = clients.stop();
    assert_eq!(failed, Vec::<String>::new());
    let kept = node.words();
    assert!(sent.iter().all(|word| kept.contains(word)), "an acknowledged write is gone");
    assert!(told.lock().unwrap().opened > 10);
    supervisor.terminate();
}

#[test]
fn a_connection_through_the_tee_outlives_the_mirroring_and_keeps_no_swap_waiting() {
    let node = Tiny::new(&["--echo"]);
    let mut supervisor = node.supervise(&[]);
    let told = Agent::begin(&node, 100, LONG).listen();
    let mut held = connect(&node);
    held.write_all(b"x").unwrap();
    held.read_exact(&mut [0]).unwrap();
    node.client().ask(Request::Unmirror).unwrap();
    held.write_all(b"y").unwrap();
    held.read_exact(&mut [0]).unwrap();
    assert_eq!(told.lock().unwrap().opened, 1);
    let carrying = tee(&node);
    // A copy of the state stops the node, not the tee; and a stop of the node waits for no client.
    assert_eq!(node.client().ask(Request::Freeze { for_ms: LONG }).unwrap(), Reply::Done);
    assert_eq!(node.client().ask(Request::Thaw).unwrap(), Reply::Thawed { was_frozen: true });
    assert_eq!(node.client().ask(HOLD).unwrap(), Reply::Stopped);
    assert_eq!(held.read(&mut [0]).unwrap_or(0), 0, "the node has ended");
    drop(held);
    until(|| !fs::exists(format!("/proc/{carrying}/stat")).unwrap());
    assert_eq!(node.client().ask(START).unwrap(), Reply::Ready);
    supervisor.terminate();
}

#[test]
fn a_supervisor_that_is_killed_leaves_no_tee_in_the_next_ones_place() {
    let node = Tiny::new(&[]);
    let mut supervisor = node.supervise(&[]);
    let _told = Agent::begin(&node, 100, LONG).listen();
    let left = tee(&node);
    supervisor.0.kill().unwrap();
    supervisor.wait();
    for _ in 0..20 {
        get(node.address).unwrap();
    }
    until(|| !fs::exists(format!("/proc/{left}/stat")).unwrap());
    let mut next = node.supervise(&[]);
    node.until_status(|status| status.phase == Phase::Ready);
    get(node.address).unwrap();
    next.terminate();
}
