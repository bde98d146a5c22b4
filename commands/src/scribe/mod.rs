//! The scribe: a single writer. One sequential loop decides the commands of its lanes and writes them in batches.
//!
//! It is a state machine without a runtime. Inputs: submissions, results of loads, outcomes of commits and take-overs,
//! and the time. Outputs: loads, commits, take-overs and answers, which a driver carries out. The scribe never waits,
//! so the same code runs on a database and in a simulator.
//!
//! Invariants:
//! - A decided command, accepted or rejected, is answered only after the batch with its decision is durable.
//! - While a batch is being committed, the next one is decided on the states that the first leaves behind. A lane whose
//!   part of the commit fails is taken over again; its decisions in both batches are discarded, and the commands are
//!   decided again after their receipts were looked up.
//! - No command id has two stored decisions: before a decision, either the store was asked for a receipt of the id and
//!   had none, or the id is provably new (ADR 0001), and no receipt of it is in memory.

mod answer;
mod batch;
mod decision;
mod ids;
mod lane;
mod limits;
mod message;
mod preparation;
mod ready_queue;
mod receipt_cache;
mod recovery;
mod state_cache;
mod submission;
mod two_generation_cache;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use domain::shared::{TenantId, Timestamp};
use foldhash::HashMap;

use crate::kernel::StateRegistry;
use batch::OpenBatch;
use lane::Lane;
use ready_queue::ReadyQueue;
use receipt_cache::ReceiptCache;
use state_cache::StateCache;
use submission::OpenSubmission;

pub use answer::{Accepted, Answer, ChangedStream, ChangedStreams, Settled};
pub use batch::{Batch, EventRow, Part, ReceiptRow, SnapshotRow};
pub use decision::COMMAND_ID_REUSED;
pub use ids::{BatchId, LaneId, ReceiptKey, StreamKey, Ticket};
pub use limits::Limits;
pub use message::{CommandAnswer, CommitOutcome, Load, LoadOutcome, LoadResult, Need, Output, TakeOverOutcome};
pub use receipt_cache::StoredReceipt;
pub use state_cache::LoadedState;
pub use submission::{Envelope, Submission, WrappedDataKey};
pub use two_generation_cache::{CacheKey, TwoGenerationCache};

/// Decides the commands of its lanes, one after the other.
pub struct Scribe {
    limits: Limits,
    registry: StateRegistry,
    lanes: BTreeMap<LaneId, Lane>,
    /// Last tenant positions of the active tenants.
    heads: HashMap<TenantId, TenantHead>,
    states: StateCache,
    receipts: ReceiptCache,
    submissions: HashMap<Ticket, OpenSubmission>,
    /// Number of undecided commands in `submissions`.
    queued: usize,
    ready: ReadyQueue,
    /// Running loads and the submissions that wait for each. A need is loaded once, however many wait for it.
    loading: HashMap<Need, Vec<Ticket>>,
    /// The batch that is being committed.
    in_flight: Option<OpenBatch>,
    /// The batch that is being filled.
    current: OpenBatch,
    /// Last batch that has an outcome; so have all batches before it.
    last_finished: BatchId,
    outputs: VecDeque<Output>,
}

/// The last tenant position of a tenant, decided commands included.
#[derive(Clone, Copy)]
struct TenantHead {
    lane: LaneId,
    tenant_position: i64,
}

impl Scribe {
    /// A scribe that owns no lane yet.
    pub fn new(limits: Limits, registry: StateRegistry) -> Self {
        Self {
            states: StateCache::new(limits.state_bytes_most),
            receipts: ReceiptCache::new(limits.receipts_most),
            limits,
            registry,
            lanes: BTreeMap::new(),
            heads: HashMap::default(),
            submissions: HashMap::default(),
            queued: 0,
            ready: ReadyQueue::default(),
            loading: HashMap::default(),
            in_flight: None,
            current: OpenBatch::first(),
            last_finished: BatchId::BEFORE_FIRST,
            outputs: VecDeque::new(),
        }
    }

    /// Decides ready commands and adds them to the current batch. If no batch is being committed, hands this one out
    /// and begins the next.
    pub fn step(&mut self, now: Timestamp) {
        self.fill_batch(now);
        if self.in_flight.is_none() && !self.current.is_empty() {
            let next = self.current.next();
            self.ready.begin_batch();
            let mut batch = std::mem::replace(&mut self.current, next);
            self.outputs.push_back(Output::Commit(batch.take_rows()));
            self.in_flight = Some(batch);
            self.fill_batch(now);
        }
        self.rotate_caches();
    }

    /// The next task for the driver, oldest first.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Number of undecided commands.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// True if no command is waiting, being decided or being committed.
    pub fn is_idle(&self) -> bool {
        self.submissions.is_empty() && self.in_flight.is_none() && self.current.is_empty()
    }

    fn fill_batch(&mut self, now: Timestamp) {
        while self.current.commands < self.limits.batch_commands_most
            && self.current.bytes < self.limits.batch_bytes_most
        {
            let Some(ticket) = self.ready.pop(self.limits.tenant_commands_most(), now) else {
                // Nothing is left to commit, so no commit will begin the next batch.
                if self.current.is_empty() && self.ready.has_clients() {
                    self.ready.begin_batch();
                    continue;
                }
                break;
            };
            if !self.may_join(ticket) {
                self.ready.put_back(ticket, &self.submissions);
                break;
            }
            self.decide_next(ticket, now);
        }
    }

    fn rotate_caches(&mut self) {
        self.states.rotate(self.last_finished);
        self.receipts.rotate(self.last_finished);
    }

    /// Streams and receipts of ids created up to this moment may have been forgotten; milliseconds since 1970.
    fn forgotten_until_ms(&self) -> i64 {
        self.states.forgotten_until_ms().max(self.receipts.forgotten_until_ms())
    }
}
