//! Messages between the scribe and its driver.

use compact_str::CompactString;
use domain::shared::{TenantId, Timestamp};

use super::answer::{Answer, Settled};
use super::batch::Batch;
use super::ids::{BatchId, LaneId, ReceiptKey, StreamKey, Ticket};
use super::shelf::LoadedState;

/// Something that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The last tenant position of a tenant.
    Tenant(TenantId),
    Receipt(ReceiptKey),
    Stream(StreamKey),
}

/// A request to load something of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub lane: LaneId,
    /// What was read under another epoch may be stale; it comes back with the answer.
    pub epoch: i64,
    pub need: Need,
}

/// The answer to a [`Load`].
pub struct Loaded {
    pub load: Load,
    pub found: Found,
}

pub enum Found {
    Tenant(i64),
    Receipt(Option<Recalled>),
    Stream(LoadedState),
    /// It cannot be read now.
    Away,
    /// It is there and cannot be understood; says why.
    Unreadable(String),
}

/// A stored receipt.
#[derive(Clone, Debug, PartialEq)]
pub struct Recalled {
    pub fingerprint: CompactString,
    pub settled: Settled,
}

/// What the driver must do.
pub enum Output {
    Load(Load),
    Commit(Batch),
    TakeOver(LaneId),
    Answer(Answered),
}

/// The answer to one command of a submission.
pub struct Answered {
    pub ticket: Ticket,
    /// Its place in the submission.
    pub index: usize,
    pub answer: Answer,
}

/// What became of a batch.
pub struct CommitOutcome {
    pub batch: BatchId,
    /// The lanes that were still ours and are durable now.
    pub written: Vec<LaneId>,
    /// The store refused the rows themselves, not the circumstances.
    pub refused_data: bool,
}

/// What became of a take-over.
pub enum TakeOverOutcome {
    Ours {
        epoch: i64,
        position: i64,
        recorded_at: Timestamp,
    },
    /// Somebody else writes it and is alive.
    Elsewhere,
    /// The store cannot be reached.
    Away,
}
