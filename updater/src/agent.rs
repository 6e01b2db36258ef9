//! The agent: the machine of [`crate::machine`] on the real world.

mod apply;
mod back;
mod backup;
mod clock;
mod effects;
mod facts;
mod keeper;
mod orders;
mod proof;
mod tally;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use countersign_metadata::{Sha256, Version};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::config::ConfigError;
use crate::durable::{DiskError, OnDisk};
use crate::generation::GenerationError;
use crate::home::HomeError;
use crate::machine::drive::DriveError;
use crate::machine::{
    Effect, Facts, Journal, JournalError, Ledger, Moment, Outcome, Rules, State, Until, Witness,
    World, drive,
};
use crate::seen::Seen;
use crate::selfupdate::renew::{self, Renewed};
use crate::selfupdate::{self, Settled};
use crate::state::{Copier, command};
use crate::supervise::Client;
use crate::trust_store::Refreshed;
use crate::{Config, Home};

pub use apply::{Asked, ask_to_apply, withdraw_apply};
pub use back::before;
pub use clock::now;
pub use orders::{TakenDown, ask_to_leave, asked_to_leave, order, pending, withdraw_leave};
pub use tally::{Refreshes, Tally};

/// How the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// When it ends by itself.
    pub until: Until,
    /// How often it looks while it waits. The repository is asked less often: `check-every`.
    pub poll: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { until: Until::Stopped, poll: Duration::from_secs(5) }
    }
}

/// The agent cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Another one is at work.
    #[error("an agent already runs for {0}")]
    Busy(PathBuf),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node directory.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What runs.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// `NODE/updater/current` names another program: this one makes way.
    #[error("another updater takes the place of this one")]
    Replaced,
    /// Nothing runs.
    #[error("{0} names no generation: nothing is installed")]
    NothingInstalled(PathBuf),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The clock or the signals.
    #[error("cannot {what}")]
    System {
        /// What.
        what: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
}

/// How a life of the agent ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The sum of the journal.
    pub ledger: Ledger,
    /// What was wrong with the repository when it was last asked, if anything was.
    pub repository: Option<RepositoryTrouble>,
}

/// Why a repository cannot be used just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryTrouble {
    /// The reason, to a person.
    pub reason: String,
    /// Whether no mirror even answered; else what they gave cannot be trusted.
    pub unreachable: bool,
}

/// Runs the agent of a node: starting is recovering.
///
/// # Errors
/// Another agent runs, or the node directory cannot be used.
pub fn run(home: &Home, options: Options, witness: &mut dyn Witness) -> Result<Ended, AgentError> {
    run_counting(home, options, witness, &Arc::default())
}

/// [`run`], counting in `tally`.
///
/// # Errors
/// As [`run`].
pub fn run_counting(
    home: &Home,
    options: Options,
    witness: &mut dyn Witness,
    tally: &Arc<Tally>,
) -> Result<Ended, AgentError> {
    let _alone = alone(home)?;
    // This process has no other children than commands of releases and sandboxes, one at a time.
    command::end_what_is_left();
    let config = Config::load(home)?;
    let rules = rules(&config);
    let mut world = Real::new(home.clone(), config, Arc::clone(tally))?;
    let (mut journal, records) = Journal::open(&home.journal())?;
    let mut ledger = Ledger::of(&records);
    if !proved(home, &mut world, witness, options)? {
        return Ok(Ended { ledger, repository: None });
    }
    loop {
        match drive(
            &mut journal,
            ledger,
            &mut world,
            witness,
            &rules,
            (options.until, options.poll),
        ) {
            Ok(ledger) => return Ok(Ended { ledger, repository: world.repository_trouble() }),
            // A full disk passes. What was done and not recorded is done again: that is harmless.
            Err(DriveError::Journal(JournalError::Disk(error)))
                if options.until == Until::Stopped =>
            {
                world.let_go();
                (journal, ledger) = reopened(home, &mut world, witness, error)?;
            }
            Err(DriveError::Journal(error)) => {
                world.let_go();
                return Err(error.into());
            }
            Err(DriveError::World(error)) => {
                world.let_go();
                return Err(error);
            }
        }
    }
}

/// The one agent of this node, as long as the file is open.
fn alone(home: &Home) -> Result<File, AgentError> {
    let path = home.agent_lock();
    let lock = File::options().append(true).create(true).open(&path).on_disk("open", &path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(AgentError::Busy(home.path().to_owned())),
        Err(TryLockError::Error(error)) => Err(DiskError::new("lock", &path, error).into()),
    }
}

/// A program that took another's place begins nothing before the supervisor runs it too: what it would write, the one
/// before could perhaps not read. `false`: it was told to end first.
fn proved(
    home: &Home,
    world: &mut Real,
    witness: &mut dyn Witness,
    options: Options,
) -> Result<bool, AgentError> {
    let mut asked = None;
    loop {
        match selfupdate::settle(home, &world.supervisor, &mut asked)? {
            Settled::Yes => return Ok(true),
            Settled::Other => return Err(AgentError::Replaced),
            Settled::Waits(why) => {
                witness.waits(&State::Idle, &why);
                let gone = asked.is_none() && options.until != Until::Stopped;
                if gone || !world.pause(options.poll.min(RETRY_PROOF)) {
                    return Ok(false);
                }
            }
        }
    }
}

/// How often it is looked whether the supervisor runs this program.
const RETRY_PROOF: Duration = Duration::from_millis(200);

/// Waits until the journal can be opened again.
fn reopened(
    home: &Home,
    world: &mut Real,
    witness: &mut dyn Witness,
    mut error: DiskError,
) -> Result<(Journal, Ledger), AgentError> {
    loop {
        witness.waits(&State::Idle, &crate::trust_store::chain(&error));
        if !world.pause(RETRY_JOURNAL) {
            return Err(JournalError::Disk(error).into());
        }
        match Journal::open(&home.journal()) {
            Ok((journal, records)) => return Ok((journal, Ledger::of(&records))),
            Err(JournalError::Disk(again)) => error = again,
            Err(other) => return Err(other.into()),
        }
    }
}

const RETRY_JOURNAL: Duration = Duration::from_secs(10);

/// Health may be bad for this long in probation, or for a third of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The rules that a configuration amounts to.
pub fn rules(config: &Config) -> Rules {
    Rules {
        mode: config.mode,
        attempts: config.attempts,
        pause: config.check_every,
        probation: config.probation.window,
        crashes: config.probation.crashes,
        patience: PATIENCE.min(config.probation.window / 3),
        ready: config.shadow.ready,
    }
}

/// The real world, and the proofs that this process holds.
struct Real {
    home: Home,
    config: Config,
    supervisor: Client,
    signals: Told,
    /// What the repository said last, or why it could not be asked, and when.
    asked: Option<(Result<Refreshed, RepositoryTrouble>, Instant)>,
    known_bad: BTreeMap<Sha256, String>,
    held: BTreeMap<Version, String>,
    seen: Seen,
    proof: proof::Proof,
    copier: Option<Copier>,
    keeper: Option<keeper::Keeper>,
    watch: crate::probation::Watch,
    tally: Arc<Tally>,
    /// When a newer updater was looked for, and what came of it.
    renewed: Option<(Instant, String)>,
    backup: backup::Tender,
}

impl Real {
    fn new(home: Home, config: Config, tally: Arc<Tally>) -> Result<Self, AgentError> {
        let seen = Seen::read(&home)?;
        Ok(Self {
            supervisor: Client::new(&home),
            home,
            config,
            signals: Told::listen()?,
            asked: None,
            known_bad: BTreeMap::new(),
            held: BTreeMap::new(),
            seen,
            proof: proof::Proof::default(),
            copier: None,
            keeper: None,
            watch: crate::probation::Watch::default(),
            tally,
            renewed: None,
            backup: backup::Tender::default(),
        })
    }

    /// Looks for a newer updater, as often as for a release. Trouble with that is no trouble of the node's.
    fn renew(&mut self) -> Result<(), AgentError> {
        let Some(updater) = &self.config.updater else { return Ok(()) };
        if self.renewed.as_ref().is_some_and(|(at, _)| at.elapsed() < self.config.check_every) {
            return Ok(());
        }
        let said = match renew::look(&self.home, &self.config, updater, &now()?) {
            Ok(Renewed::Yes(_)) => return Err(AgentError::Replaced),
            Ok(Renewed::No(why)) | Err(why) => why,
        };
        self.renewed = Some((Instant::now(), said));
        Ok(())
    }

    fn repository_trouble(&self) -> Option<RepositoryTrouble> {
        let (answer, _) = self.asked.as_ref()?;
        answer.as_ref().err().cloned()
    }
}

impl World for Real {
    type Error = AgentError;

    fn now(&mut self) -> Result<Moment, AgentError> {
        now()
    }

    fn observe(&mut self, ledger: &Ledger) -> Result<Facts, AgentError> {
        if ledger.state.swap().is_none() {
            self.renew()?;
        }
        self.look(ledger)
    }

    fn act(&mut self, effect: Effect, state: &State, facts: &Facts) -> Outcome {
        self.perform(effect, state, facts)
    }

    fn pause(&mut self, time: Duration) -> bool {
        self.backup.tend(&self.home, &self.config);
        self.signals.wait(time)
    }
}

/// Hears TERM and INT.
struct Told {
    handle: Handle,
    heard: Receiver<()>,
    told: bool,
}

impl Told {
    fn listen() -> Result<Self, AgentError> {
        let mut signals = Signals::new([SIGTERM, SIGINT])
            .map_err(|source| AgentError::System { what: "listen to signals", source })?;
        let handle = signals.handle();
        let (tell, heard) = mpsc::channel();
        std::thread::spawn(move || signals.forever().try_for_each(|_| tell.send(())));
        Ok(Self { handle, heard, told: false })
    }

    /// `false` once somebody asked this process to end.
    fn wait(&mut self, time: Duration) -> bool {
        if time.is_zero() {
            self.told |= self.heard.try_recv() != Err(TryRecvError::Empty);
        } else if !self.told {
            self.told = self.heard.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
        }
        !self.told
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.handle.close();
    }
}
