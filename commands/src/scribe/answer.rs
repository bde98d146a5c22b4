//! Answers to commands.

use domain::shared::Timestamp;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::kernel::{Misuse, NotNow, Rejected};

/// The answer to one command.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Decided, and the decision is durable.
    Settled {
        settled: Settled,
        /// True for the stored answer of an earlier decision.
        replayed: bool,
    },
    /// Not decided; the same id may be sent again.
    NotNow(NotNow),
    /// Invalid whatever the state; nothing was stored.
    Misuse(Misuse),
    /// An error of the server that concerns this command alone; nothing was stored.
    Fault(String),
}

/// A decision. Callers get it only once it is durable.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    Accepted(Accepted),
    Rejected {
        rejected: Box<Rejected>,
        /// The tenant position at the time of the decision.
        tenant_position: i64,
        /// Epoch of the lane's last event at that time.
        epoch: i64,
        recorded_at: Timestamp,
    },
}

/// The receipt of an accepted command.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Tenant position of the command's last event; of the tenant's last event at that time if the command changed
    /// nothing.
    pub tenant_position: i64,
    /// Epoch of the command's events; of the lane's last event if the command changed nothing.
    pub epoch: i64,
    pub recorded_at: Timestamp,
    /// The streams with new events; empty if the command changed nothing.
    pub changed: ChangedStreams,
}

/// Changed streams. Most commands change one, which is stored inline.
pub type ChangedStreams = SmallVec<[ChangedStream; 1]>;

/// A stream and the sequence number of its last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedStream {
    pub stream_type: &'static str,
    pub stream: Uuid,
    pub sequence: i64,
}
