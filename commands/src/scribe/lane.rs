//! Lanes of the log, as one scribe sees them.

use domain::shared::Timestamp;

use super::ids::Ticket;

pub(super) struct Lane {
    pub(super) status: LaneStatus,
    /// Submissions that wait for the lane to be taken over.
    pub(super) waiting: Vec<Ticket>,
    /// Limit on commands per batch after the store refused the data of a batch: halved until the refused command is
    /// alone, doubled after each success. A lane with this limit shares no batch with other lanes, so that they do not
    /// fail too.
    pub(super) isolated_commands_most: Option<usize>,
}

#[derive(Clone, Copy)]
pub(super) enum LaneStatus {
    NotOwned,
    TakingOver,
    Owned(Ownership),
}

/// An uninterrupted period in which this scribe is the only writer of a lane.
#[derive(Clone, Copy)]
pub(super) struct Ownership {
    pub(super) epoch: i64,
    /// Epoch of the last decided event. Answers without events carry it: the log keeps it for ever, while an epoch
    /// without events may be forgotten.
    pub(super) event_epoch: i64,
    /// Position of the last decided event.
    pub(super) position: i64,
    /// Time of the last decision; time never goes backwards within a lane.
    pub(super) recorded_at: Timestamp,
    /// Latest creation time of an id that the log could contain at the take-over; milliseconds since 1970.
    pub(super) log_ids_until_ms: i64,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self { status: LaneStatus::NotOwned, waiting: Vec::new(), isolated_commands_most: None }
    }

    pub(super) fn ownership(&self) -> Option<Ownership> {
        match self.status {
            LaneStatus::Owned(ownership) => Some(ownership),
            LaneStatus::NotOwned | LaneStatus::TakingOver => None,
        }
    }
}
