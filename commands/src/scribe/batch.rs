//! One batch: the rows of one statement, and the commands that wait for it.

use std::collections::BTreeMap;

use compact_str::CompactString;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use uuid::Uuid;

use super::answer::Answer;
use super::ids::{BatchId, LaneId, Ticket};
use super::submission::{Pending, PersonKey};

/// What one statement writes.
pub struct Batch {
    pub id: BatchId,
    pub parts: BTreeMap<LaneId, Part>,
}

/// What one statement writes into one lane, provided that the lane is still at this epoch.
#[derive(Default)]
pub struct Part {
    pub epoch: i64,
    /// The time of its last row; the store refuses it when its own clock is far behind.
    pub recorded_at: Timestamp,
    pub events: Vec<EventRow>,
    pub receipts: Vec<ReceiptRow>,
    pub snapshots: Vec<SnapshotRow>,
    pub person_keys: Vec<PersonKey>,
}

pub struct EventRow {
    pub position: i64,
    pub tenant: TenantId,
    pub tenant_position: i64,
    pub stream_type: &'static str,
    pub stream: Uuid,
    pub sequence: i64,
    pub principal: Principal,
    pub command: CommandId,
    pub command_index: i16,
    pub name: CompactString,
    pub version: i16,
    pub payload: String,
    pub meta: String,
    pub occurred_at: Timestamp,
    pub recorded_at: Timestamp,
}

/// A rejection, or an accepted command that changed nothing.
pub struct ReceiptRow {
    pub tenant: TenantId,
    pub principal: Principal,
    pub command: CommandId,
    pub fingerprint: CompactString,
    pub name: String,
    /// Code, retry and details of a rejection.
    pub rejected: Option<(String, &'static str, String)>,
    pub tenant_position: i64,
    pub recorded_at: Timestamp,
}

pub struct SnapshotRow {
    pub tenant: TenantId,
    pub stream_type: &'static str,
    pub stream: Uuid,
    pub state_version: i32,
    pub sequence: i64,
    pub state: String,
}

/// A batch while it is decided and committed.
pub(super) struct Flight {
    pub(super) id: BatchId,
    pub(super) commands: usize,
    pub(super) bytes: usize,
    pub(super) parts: BTreeMap<LaneId, FlightPart>,
    /// About how many commands come into each part, so that parts need not grow.
    room: usize,
}

#[derive(Default)]
pub(super) struct FlightPart {
    pub(super) rows: Part,
    pub(super) decided: Vec<Decided>,
}

/// A command that was decided and is answered when the batch is durable.
pub(super) struct Decided {
    pub(super) ticket: Ticket,
    pub(super) tenant: TenantId,
    pub(super) from_engine: bool,
    pub(super) pending: Pending,
    pub(super) answer: Answer,
}

impl Flight {
    pub(super) fn first() -> Self {
        Self { id: BatchId(1), commands: 0, bytes: 0, parts: BTreeMap::new(), room: 0 }
    }

    /// The flight after this one, which is expected to become about as large.
    pub(super) fn next(&self) -> Self {
        let room = self.commands.checked_div(self.parts.len()).unwrap_or(0);
        Self { id: BatchId(self.id.0.saturating_add(1)), commands: 0, bytes: 0, parts: BTreeMap::new(), room }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn part(&mut self, lane: LaneId) -> &mut FlightPart {
        self.parts.entry(lane).or_insert_with(|| FlightPart {
            rows: Part { events: Vec::with_capacity(self.room), ..Part::default() },
            decided: Vec::with_capacity(self.room),
        })
    }

    /// The rows go to the store; the commands stay until the outcome is known.
    pub(super) fn take_batch(&mut self) -> Batch {
        let parts = self.parts.iter_mut().map(|(lane, part)| (*lane, std::mem::take(&mut part.rows))).collect();
        Batch { id: self.id, parts }
    }
}
