//! Batches: the rows of one commit statement, and the commands that are answered once the rows are durable.

use std::collections::BTreeMap;

use compact_str::CompactString;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use uuid::Uuid;

use super::answer::Answer;
use super::ids::{BatchId, LaneId, Ticket};
use super::submission::{PendingCommand, WrappedDataKey};

/// The rows of one commit statement.
pub struct Batch {
    pub id: BatchId,
    pub parts: BTreeMap<LaneId, Part>,
}

/// The rows of one lane in a batch. The store writes them only if the lane is still at this epoch.
#[derive(Default)]
pub struct Part {
    pub epoch: i64,
    /// Time of the last row. The store refuses the part if this is more than two seconds ahead of its own clock.
    pub recorded_at: Timestamp,
    pub events: Vec<EventRow>,
    pub receipts: Vec<ReceiptRow>,
    pub snapshots: Vec<SnapshotRow>,
    pub person_keys: Vec<WrappedDataKey>,
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

/// Stored receipt of a command without events: a rejection, or an accepted command that changed nothing.
pub struct ReceiptRow {
    pub tenant: TenantId,
    pub principal: Principal,
    pub command: CommandId,
    pub fingerprint: CompactString,
    pub name: String,
    /// Code, retry and details of a rejection.
    pub rejected: Option<(String, &'static str, String)>,
    pub tenant_position: i64,
    /// Epoch of the last event before the receipt.
    pub epoch: i64,
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

/// A batch without an outcome: it is being filled, or it is being committed.
pub(super) struct OpenBatch {
    pub(super) id: BatchId,
    /// Decided commands, repeats excluded.
    pub(super) commands: usize,
    /// Bytes of event payloads and metas.
    pub(super) bytes: usize,
    pub(super) parts: BTreeMap<LaneId, OpenPart>,
    /// Expected number of commands per part, for which memory is allocated in advance.
    part_capacity: usize,
}

/// The part of one lane in an open batch.
#[derive(Default)]
pub(super) struct OpenPart {
    pub(super) rows: Part,
    pub(super) decided: Vec<DecidedCommand>,
}

/// A decided command, or a repeat of one; answered when the batch is durable.
pub(super) struct DecidedCommand {
    pub(super) ticket: Ticket,
    pub(super) tenant: TenantId,
    pub(super) from_engine: bool,
    pub(super) pending: PendingCommand,
    pub(super) answer: Answer,
}

impl OpenBatch {
    pub(super) fn first() -> Self {
        Self { id: BatchId(1), commands: 0, bytes: 0, parts: BTreeMap::new(), part_capacity: 0 }
    }

    /// The batch after this one, with memory for as many commands per part.
    pub(super) fn next(&self) -> Self {
        let part_capacity = self.commands.checked_div(self.parts.len()).unwrap_or(0);
        Self { id: BatchId(self.id.0.saturating_add(1)), commands: 0, bytes: 0, parts: BTreeMap::new(), part_capacity }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn part(&mut self, lane: LaneId) -> &mut OpenPart {
        self.parts.entry(lane).or_insert_with(|| OpenPart {
            rows: Part { events: Vec::with_capacity(self.part_capacity), ..Part::default() },
            decided: Vec::with_capacity(self.part_capacity),
        })
    }

    /// Takes the rows for the commit. The commands stay here until the outcome is known.
    pub(super) fn take_rows(&mut self) -> Batch {
        let parts = self.parts.iter_mut().map(|(lane, part)| (*lane, std::mem::take(&mut part.rows))).collect();
        Batch { id: self.id, parts }
    }
}
