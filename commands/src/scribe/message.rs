//! Messages between the scribe and its driver.

use domain::shared::{TenantId, Timestamp};

use super::answer::Answer;
use super::batch::Batch;
use super::ids::{BatchId, LaneId, ReceiptKey, StreamKey, Ticket};
use super::receipt_cache::StoredReceipt;
use super::state_cache::LoadedState;

/// A task for the driver.
pub enum Output {
    Load(Load),
    Commit(Batch),
    TakeOver(LaneId),
    Answer(CommandAnswer),
}

/// The answer to one command of a submission.
pub struct CommandAnswer {
    pub ticket: Ticket,
    /// Place of the command in its submission.
    pub index: usize,
    pub answer: Answer,
}

/// A request to read from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    pub lane: LaneId,
    /// Epoch of the lane at the request. The result is ignored if the lane was taken over since.
    pub epoch: i64,
    pub need: Need,
}

/// Data that a decision needs and that is not in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// The last tenant position of a tenant.
    Tenant(TenantId),
    Receipt(ReceiptKey),
    Stream(StreamKey),
}

/// The result of a [`Load`].
pub struct LoadOutcome {
    pub load: Load,
    pub result: LoadResult,
}

/// Data read from the store, or the reason why it could not be read.
pub enum LoadResult {
    Tenant(i64),
    Receipt(Option<StoredReceipt>),
    Stream(LoadedState),
    /// The store cannot be reached.
    Unavailable,
    /// The stored data cannot be decoded, for this reason.
    Unreadable(String),
}

/// The outcome of a commit.
pub struct CommitOutcome {
    pub batch: BatchId,
    /// Lanes whose part of the batch is durable. The parts of the other lanes failed or their outcome is unknown.
    pub written: Vec<LaneId>,
    /// The store refused the data itself. False for a lost connection, a timeout or a lost lane.
    pub refused_data: bool,
}

/// The outcome of a take-over.
pub enum TakeOverOutcome {
    Owned {
        epoch: i64,
        /// Position and time of the lane's last event.
        position: i64,
        recorded_at: Timestamp,
        /// Epoch of the lane's last event; `epoch` if there is none.
        event_epoch: i64,
        /// The store's clock at the take-over.
        store_time: Timestamp,
    },
    /// Another process owns the lane and its lease has not expired.
    Elsewhere,
    /// The clock of this process is off by this much, so it may not write lanes.
    ClockOff(String),
    /// The store cannot be reached.
    Unavailable,
}
