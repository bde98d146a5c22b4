//! The scribe: one sequential loop that decides the commands of its lanes and writes them down in batches.
//!
//! A state machine without a runtime. Inputs: submissions, loaded streams and receipts, outcomes of commits and
//! take-overs, and the time. Outputs: what to load, what to commit, which lane to take over, and answers.
//! It never waits, so that the same code runs on a database and in a simulator (design 4.1, 4.7).
//!
//! Invariants:
//! - A command is answered only after the batch it was decided in is durable; so is every refusal that is stored.
//! - While a batch is being committed, the next one is decided on the states it leaves behind. Should it fail, its
//!   lanes are taken over again, everything decided since is forgotten, and its commands are decided anew after
//!   their receipts were read.
//! - No id is decided twice: its receipt is in memory, or was looked up, or the id is provably new.

mod admission;
mod answer;
mod batch;
mod decision;
mod generations;
mod ids;
mod lane;
mod limits;
mod message;
mod ready;
mod receipts;
mod recovery;
mod shelf;
mod submission;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use domain::shared::{TenantId, Timestamp};
use foldhash::HashMap;

use crate::kernel::Kinds;
use batch::Flight;
use lane::Lane;
use ready::Ready;
use receipts::Receipts;
use shelf::States;
use submission::Work;

pub use answer::{Accepted, Answer, Changed, ChangedStreams, Settled};
pub use batch::{Batch, EventRow, Part, ReceiptRow, SnapshotRow};
pub use ids::{BatchId, LaneId, ReceiptKey, StreamKey, Ticket};
pub use limits::Limits;
pub use message::{Answered, CommitOutcome, Found, Load, Loaded, Need, Output, Recalled, TakeOverOutcome};
pub use shelf::LoadedState;
pub use submission::{Envelope, PersonKey, Submission};

/// Decides the commands of many lanes, one after the other.
pub struct Scribe {
    limits: Limits,
    kinds: Kinds,
    lanes: BTreeMap<LaneId, Lane>,
    /// The last tenant position of every tenant that was active, once it is known.
    heads: HashMap<TenantId, TenantHead>,
    states: States,
    receipts: Receipts,
    works: HashMap<Ticket, Work>,
    /// Commands in `works`, decided ones excluded.
    queued: usize,
    ready: Ready,
    /// Who waits for what; a need is loaded once, however many wait for it.
    wanted: HashMap<Need, Vec<Ticket>>,
    /// The batch that is being committed.
    flying: Option<Flight>,
    /// The batch that is being decided.
    drafted: Flight,
    /// Every batch up to this one has an outcome.
    settled: BatchId,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy)]
struct TenantHead {
    lane: LaneId,
    tenant_position: i64,
}

impl Scribe {
    /// A scribe that owns no lane yet.
    pub fn new(limits: Limits, kinds: Kinds) -> Self {
        Self {
            states: States::new(limits.state_bytes_most),
            receipts: Receipts::new(limits.receipts_most),
            limits,
            kinds,
            lanes: BTreeMap::new(),
            heads: HashMap::default(),
            works: HashMap::default(),
            queued: 0,
            ready: Ready::default(),
            wanted: HashMap::default(),
            flying: None,
            drafted: Flight::first(),
            settled: BatchId(0),
            outputs: VecDeque::new(),
        }
    }

    /// Decides what is ready and hands out the next batch as soon as none is being committed.
    pub fn step(&mut self, now: Timestamp) {
        self.draft(now);
        if self.flying.is_none() && !self.drafted.is_empty() {
            let next = self.drafted.next();
            let mut flight = std::mem::replace(&mut self.drafted, next);
            self.outputs.push_back(Output::Commit(flight.take_batch()));
            self.flying = Some(flight);
            self.draft(now);
        }
        self.forget();
    }

    /// What the driver must do next, in order.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Commands that wait to be decided.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Whether nothing is waiting, being decided or being committed.
    pub fn is_idle(&self) -> bool {
        self.works.is_empty() && self.flying.is_none() && self.drafted.is_empty()
    }

    fn draft(&mut self, now: Timestamp) {
        while self.drafted.commands < self.limits.batch_commands_most
            && self.drafted.bytes < self.limits.batch_bytes_most
        {
            let Some(ticket) = self.ready.next() else { break };
            if !self.may_join(ticket) {
                self.ready.put_back(ticket, &self.works);
                break;
            }
            self.decide_next(ticket, now);
        }
    }

    /// Lets go of what was not used for long.
    fn forget(&mut self) {
        self.states.turn(self.settled);
        self.receipts.turn(self.settled);
    }

    /// Ids made up to this moment may have been forgotten; milliseconds since 1970.
    fn forgotten_until_ms(&self) -> i64 {
        self.states.forgotten_until_ms().max(self.receipts.forgotten_until_ms())
    }
}
