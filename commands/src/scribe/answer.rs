//! Answers to commands.

use domain::shared::Timestamp;
use smallvec::SmallVec;
use uuid::Uuid;

use crate::kernel::{Misuse, NotNow, Rejected};

/// What a command was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was decided, now or earlier, and the decision is durable.
    Settled {
        settled: Settled,
        /// It was decided earlier; this is the stored answer.
        replayed: bool,
    },
    /// It was not decided; the same id may be sent again.
    NotNow(NotNow),
    /// It makes no sense; nothing was stored.
    Misuse(Misuse),
    /// The machine failed on this command alone; nothing was stored.
    Fault(String),
}

/// A durable decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    Accepted(Accepted),
    Rejected {
        rejected: Box<Rejected>,
        /// The tenant's position when it was decided.
        tenant_position: i64,
        epoch: i64,
        recorded_at: Timestamp,
    },
}

/// The receipt of an accepted command.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The position of its last event within the tenant; of the event before it where it changed nothing.
    pub tenant_position: i64,
    pub epoch: i64,
    pub recorded_at: Timestamp,
    /// The streams it changed; empty where all of it held already.
    pub changed: ChangedStreams,
}

/// Most commands change one stream, which is kept in place.
pub type ChangedStreams = SmallVec<[Changed; 1]>;

/// A stream and the number of its last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub stream_type: &'static str,
    pub stream: Uuid,
    pub sequence: i64,
}
