//! What a scribe knows of one lane.

use domain::shared::Timestamp;

use super::ids::Ticket;

pub(super) struct Lane {
    pub(super) hold: Hold,
    /// Submissions that wait until the lane is ours.
    pub(super) waiting: Vec<Ticket>,
    /// After a batch failed for its data, the lane goes alone and in ever smaller batches, until the culprit is found.
    pub(super) suspect: Option<usize>,
}

#[derive(Clone, Copy)]
pub(super) enum Hold {
    /// Somebody must be asked for it first.
    Absent,
    /// We asked.
    TakingOver,
    Ours(Tenure),
}

/// One uninterrupted time of writing a lane.
#[derive(Clone, Copy)]
pub(super) struct Tenure {
    pub(super) epoch: i64,
    pub(super) position: i64,
    /// Time never goes backwards within a lane.
    pub(super) recorded_at: Timestamp,
    /// Ids that were made later than this cannot be in the log from before; milliseconds since 1970.
    pub(super) known_since_ms: i64,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { hold: Hold::Absent, waiting: Vec::new(), suspect: None }
    }

    pub(super) fn tenure(&self) -> Option<Tenure> {
        match self.hold {
            Hold::Ours(tenure) => Some(tenure),
            Hold::Absent | Hold::TakingOver => None,
        }
    }
}
