//! The supervisor's one thread of decisions: every event comes in here, every change is made here.

mod beside;
mod ends;
mod life;
mod mirror;
mod replaced;
mod requests;

use std::collections::VecDeque;
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::notify::NotifySocket;
use super::orphan::NodeFile;
use super::protocol::{Exit, Phase, Reply, Request, Status};
use super::sockets::Sockets;
use super::{Limits, log};
use crate::Home;
use crate::generation::Generation;
use crate::state::data_dir::Alone;
use crate::trust_store::chain;

/// What can happen.
#[derive(Debug)]
pub(super) enum Event {
    /// Some child changed.
    Child,
    /// TERM or INT.
    Terminate,
    /// Start number so-and-so is ready.
    Ready(u64),
    /// Somebody asked.
    Asked(Request, Sender<Reply>),
}

/// Looks at timers and the log at least this often.
const IDLE: Duration = Duration::from_secs(10);

pub(super) struct Core<'a> {
    home: Home,
    limits: Limits,
    events: Sender<Event>,
    tell: &'a mut dyn FnMut(&str),
    sockets: Sockets,
    generation: Generation,
    running: Option<Running>,
    /// What `current` names, started while the other one serves, and when it is given up if it is not ready.
    beside: Option<(Running, Instant)>,
    /// Told to end, while another one serves.
    draining: Vec<Running>,
    /// Stopped by request until then.
    hold: Option<Instant>,
    thaw_at: Option<Instant>,
    /// When a node that does not run is started, and why it does not run.
    restart: Option<(Instant, String)>,
    crashes: u32,
    quick_exits: u32,
    last_exit: Option<Exit>,
    starts: u64,
    waiting: VecDeque<Waiting>,
    ending: bool,
    /// Another program is to take this one's place.
    replaced: bool,
    mirror: mirror::Mirror,
    /// What is wrong with the log, told once.
    log_trouble: Option<String>,
}

struct Running {
    generation: Generation,
    pid: i32,
    start: u64,
    since: Timestamp,
    began: Instant,
    ready: bool,
    main_ended: bool,
    /// Whether a supervisor after this one would know of it.
    noted: bool,
    /// Set once TERM was sent.
    stop: Option<Instant>,
    /// Whether the operator's limit has passed since.
    killed: bool,
    /// Processes that the kernel had ended for want of memory when this one was started.
    oom_kills: u64,
    /// How long its log was then.
    log_from: u64,
    notify: NotifySocket,
    /// Unlocks when the last process of the node has ended.
    alone: Alone,
}

enum Waiting {
    Stopped(Sender<Reply>, Instant),
    Ready(Sender<Reply>, Instant, Duration),
    Ended(Sender<Reply>),
}

impl<'a> Core<'a> {
    pub(super) fn new(
        home: &Home,
        limits: Limits,
        generation: Generation,
        sockets: Sockets,
        left: Option<NodeFile>,
        events: Sender<Event>,
        tell: &'a mut dyn FnMut(&str),
    ) -> Self {
        let same = left.filter(|node| node.generation == generation.number);
        Self {
            home: home.clone(),
            limits,
            events,
            tell,
            sockets,
            generation,
            running: None,
            beside: None,
            draining: Vec::new(),
            hold: None,
            thaw_at: None,
            restart: None,
            crashes: same.map_or(0, |node| node.crashes),
            quick_exits: 0,
            last_exit: None,
            starts: 0,
            waiting: VecDeque::new(),
            ending: false,
            replaced: false,
            mirror: mirror::Mirror::default(),
            log_trouble: None,
        }
    }

    /// Starts the node, unless it runs, and serves events until the supervisor is told to end and the node has ended,
    /// or until another program is to take its place: then everything is handed back.
    pub(super) fn run(mut self, heard: &Receiver<Event>) -> Option<Self> {
        if self.running.is_none() {
            self.start();
        }
        while !(self.ending && self.is_empty()) {
            if self.replaced {
                return Some(self);
            }
            let pause = self.next_timer().saturating_duration_since(Instant::now());
            match heard.recv_timeout(pause.min(IDLE)) {
                Ok(Event::Child) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Ready(start)) => self.became_ready(start),
                Ok(Event::Terminate) => self.end(),
                Ok(Event::Asked(request, reply)) => self.answer(request, reply),
                Err(RecvTimeoutError::Disconnected) => self.end(),
            }
            self.reap();
            self.timers();
        }
        for waiting in self.waiting.drain(..) {
            let (Waiting::Ended(reply) | Waiting::Stopped(reply, _) | Waiting::Ready(reply, ..)) =
                waiting;
            let _gone = reply.send(Reply::Done);
        }
        None
    }

    fn timers(&mut self) {
        let now = Instant::now();
        if self.thaw_at.is_some_and(|at| at <= now) {
            (self.tell)("the freeze ran out: the node goes on");
            self.thaw();
        }
        if self.hold.is_some_and(|until| until <= now) {
            (self.tell)("nobody renewed the hold: the node is started again");
            self.hold = None;
            if self.running.is_none() {
                self.restart = Some((now, "the hold ran out".to_owned()));
            }
        }
        if self.running.is_none() && self.restart.as_ref().is_some_and(|(at, _)| *at <= now) {
            self.start();
        }
        self.give_up_beside(now);
        self.watch_mirror(now);
        self.kill(now);
        self.answer_late(now);
        self.note();
        self.rotate_log();
    }

    /// Tells the trouble with the log when it begins; the node is never disturbed by it.
    fn rotate_log(&mut self) {
        let rotated = log::rotate(&self.home.node_log(), self.limits.log_bytes);
        let trouble = rotated.err().map(|error| chain(&error));
        if let Some(text) = trouble.as_ref().filter(|text| self.log_trouble.as_ref() != Some(text))
        {
            (self.tell)(&format!("the node's log cannot be kept within its bounds: {text}"));
        }
        self.log_trouble = trouble;
    }

    fn next_timer(&self) -> Instant {
        let far = Instant::now() + IDLE;
        let waits = self.waiting.iter().filter_map(|waiting| match waiting {
            Waiting::Stopped(_, by) | Waiting::Ready(_, by, _) => Some(*by),
            Waiting::Ended(_) => None,
        });
        let mut ended = self.all().filter(|running| running.main_ended);
        let own = [
            self.hold,
            self.thaw_at,
            self.restart.as_ref().filter(|_| self.running.is_none()).map(|(at, _)| *at),
            self.beside.as_ref().map(|(_, until)| *until),
            self.kill_timer(),
            self.mirror.timer(),
            ended.next().map(|_| Instant::now() + Duration::from_millis(20)),
        ];
        own.into_iter().flatten().chain(waits).min().unwrap_or(far)
    }

    fn status(&self) -> Status {
        let (phase, reason) = match (&self.running, &self.restart) {
            (Some(Running { stop: Some(_), .. }), _) => (Phase::Stopping, self.stopping()),
            (Some(Running { ready: true, .. }), _) => (Phase::Ready, "it is ready".to_owned()),
            (Some(_), _) => (Phase::Starting, "it is not ready yet".to_owned()),
            (None, _) if self.hold.is_some() => {
                (Phase::Held, "it is stopped for a swap; connections queue".to_owned())
            }
            (None, Some((_, reason))) => (Phase::Waiting, reason.clone()),
            (None, None) => (Phase::Waiting, "it is not running".to_owned()),
        };
        Status {
            supervisor: std::process::id(),
            program: crate::selfupdate::me(),
            phase,
            reason,
            generation: self.generation.number,
            version: self.generation.version.clone(),
            binary: self.generation.binary,
            pid: self.running.as_ref().map(|running| running.pid),
            since: self.running.as_ref().map(|running| running.since),
            frozen: self.thaw_at.is_some(),
            crashes: self.crashes,
            last_exit: self.last_exit.clone(),
            listen: self.sockets.list(),
            mirrored: self.mirror.share(),
            log_from: self.running.as_ref().map_or(0, |running| running.log_from),
            draining: u32::try_from(self.draining.len()).unwrap_or(u32::MAX),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = fs::remove_file(self.notify.path());
    }
}
