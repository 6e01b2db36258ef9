//! The loop: observe, plan, record the intent, act, record the outcome. It decides nothing.

use std::time::Duration;

use super::facts::{Facts, Rules};
use super::journal::{Journal, JournalError, Kind, Record};
use super::plan::{Action, plan};
use super::transition::{self, Outcome};
use super::{Effect, Ledger, Moment, State};

/// The world, as far as the machine needs it. One real side, one simulated in the tests.
pub trait World {
    /// What went wrong when even looking was impossible.
    type Error;

    /// The time.
    ///
    /// # Errors
    /// There is no clock.
    fn now(&mut self) -> Result<Moment, Self::Error>;

    /// Looks at everything that the present state needs to know.
    ///
    /// # Errors
    /// The node directory itself cannot be read.
    fn observe(&mut self, ledger: &Ledger) -> Result<Facts, Self::Error>;

    /// Performs one effect. Idempotent. A failure is an outcome.
    fn act(&mut self, effect: Effect, state: &State, facts: &Facts) -> Outcome;

    /// Waits for at most `time`. `false`: somebody asked this process to end.
    fn pause(&mut self, time: Duration) -> bool;
}

/// Watches every step: narrates it, or, in a test, dies at it.
pub trait Witness {
    /// The intent is on the disk, the effect comes next.
    fn before(&mut self, _effect: Effect) {}

    /// The effect is done, its record comes next.
    fn after(&mut self, _effect: Effect) {}

    /// A record is on the disk.
    fn recorded(&mut self, _record: &Record) {}

    /// Nothing to do just now.
    fn waits(&mut self, _state: &State, _why: &str) {}
}

/// A witness that says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Witness for Silent {}

/// When the loop ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// When it is told to.
    Stopped,
    /// When it has to wait for the first time.
    FirstWait,
    /// When nothing is under way and nothing is offered, or when nothing but somebody else can change that: the
    /// operator, a mirror, a supervisor that has to be started. A swap that has begun is always brought to its end.
    Idle,
}

/// Why the loop could not go on.
#[derive(Debug)]
pub enum DriveError<E> {
    /// The journal cannot be written: without it nothing is begun.
    Journal(JournalError),
    /// The world cannot be seen.
    World(E),
}

impl<E> From<JournalError> for DriveError<E> {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// Runs the machine, looking at the world every `poll` while it waits. Returns the sum of the journal.
///
/// # Errors
/// The journal cannot be written, or the world cannot be seen.
pub fn drive<W: World>(
    journal: &mut Journal,
    mut ledger: Ledger,
    world: &mut W,
    witness: &mut dyn Witness,
    rules: &Rules,
    (until, poll): (Until, Duration),
) -> Result<Ledger, DriveError<W::Error>> {
    loop {
        let facts = world.observe(&ledger).map_err(DriveError::World)?;
        match plan(&ledger, &facts, rules) {
            Action::Wait { why, until: wake } => {
                witness.waits(&ledger.state, &why);
                let swaps = ledger.state.swap().is_some();
                let ends = match until {
                    Until::Stopped => false,
                    Until::FirstWait => true,
                    Until::Idle => {
                        // What failed so often before a swap is for the operator to see.
                        let tried = ledger.trouble.as_ref().map_or(0, |trouble| trouble.count);
                        ledger.state.is_rest()
                            || (!swaps && (wake.is_none() || tried >= rules.attempts))
                    }
                };
                let left = wake.map_or(Duration::MAX, |wake| facts.now.until(&wake));
                let poll = if swaps { poll.min(SWAP_POLL) } else { poll };
                if ends || !world.pause(left.min(poll).max(Duration::from_millis(10))) {
                    return Ok(ledger);
                }
            }
            Action::Do { effect, why } => {
                step(journal, &mut ledger, world, witness, (effect, &why, &facts))?;
                if !world.pause(Duration::ZERO) && may_end(&ledger.state) {
                    return Ok(ledger);
                }
            }
        }
    }
}

/// While a swap is under way the world is looked at this often.
const SWAP_POLL: Duration = Duration::from_secs(1);

/// Told to end, the loop first brings the node back up: nobody is left waiting for a stopped node.
fn may_end(state: &State) -> bool {
    match state {
        State::Leased(swap) | State::Probation { swap, .. } => swap.undo.is_none(),
        other => other.swap().is_none(),
    }
}

fn step<W: World>(
    journal: &mut Journal,
    ledger: &mut Ledger,
    world: &mut W,
    witness: &mut dyn Witness,
    (effect, why, facts): (Effect, &str, &Facts),
) -> Result<(), DriveError<W::Error>> {
    let begun = transition::before(&ledger.state, effect, facts);
    let now = facts.now.clone();
    let intent = journal.append(now, Kind::Intent, effect, why, &begun)?;
    ledger.take(&intent);
    witness.recorded(&intent);

    witness.before(effect);
    let outcome = world.act(effect, &ledger.state, facts);
    witness.after(effect);

    let next = transition::after(&ledger.state, effect, why, &outcome, facts);
    let (kind, why) = match &outcome {
        Outcome::Failed { blame, reason } => (Kind::Failed { blame: *blame }, reason.as_str()),
        _ => (Kind::Done, why),
    };
    let order = match &outcome {
        Outcome::Ordered(order) => Some(order.clone()),
        _ => None,
    };
    let now = world.now().map_err(DriveError::World)?;
    let record = journal.append_with(now, kind, effect, why, &next, order)?;
    ledger.take(&record);
    witness.recorded(&record);
    Ok(())
}
