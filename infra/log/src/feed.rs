//! Store feed: events from the tail in memory if it has them, otherwise from the log in PostgreSQL.

use std::sync::Arc;

use commands::scribe::{EventRow, LaneId};
use projections::ports::{Checkpoint, DecodedEvent, Epochs, Fault, History, RawEvent};
use sqlx::PgPool;

use crate::Tail;
use crate::history::{EventMeta, PgHistory};

/// The port [`History`] over the log. Events that this process has just written come from memory, without a query.
#[derive(Clone)]
pub struct StoreFeed {
    tail: Option<Arc<Tail>>,
    log: PgHistory,
}

impl StoreFeed {
    /// A feed with the tail of this process's scribe; without one, all events come from the store.
    pub fn new(pool: PgPool, tail: Option<Arc<Tail>>) -> Self {
        Self { tail, log: PgHistory::new(pool) }
    }
}

impl History for StoreFeed {
    async fn events(&self, lane: i16, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
        let tail = self.tail.as_ref();
        let events =
            tail.and_then(|tail| tail.after(LaneId(lane), after, most, |row, epoch| raw_event(lane, epoch, row)));
        // If an event of the tail cannot be parsed, all are read from the log, whose error names the position of the event.
        match events.and_then(|events| events.into_iter().collect::<Option<Vec<_>>>()) {
            Some(events) => Ok(events),
            None => self.log.events(lane, after, most).await,
        }
    }

    async fn heads(&self) -> Result<Vec<Checkpoint>, Fault> {
        self.log.heads().await
    }

    async fn epochs(&self, lane: i16) -> Result<Epochs, Fault> {
        self.log.epochs(lane).await
    }
}

/// Converts a row of the tail to the event that a query of the log would return; `None` if its meta cannot be parsed.
pub fn raw_event(lane: i16, epoch: i64, row: &EventRow) -> Option<RawEvent> {
    let meta = EventMeta::parse(&row.meta).ok()?;
    Some(RawEvent {
        lane,
        position: row.position,
        epoch,
        tenant: row.tenant,
        tenant_position: row.tenant_position,
        stream_type: row.stream_type.into(),
        stream: row.stream,
        sequence: row.sequence,
        principal: row.principal,
        command: row.command,
        index: row.command_index,
        kind: row.name.as_str().into(),
        version: row.version,
        payload: row.payload.as_str().into(),
        actor: meta.actor,
        correlation: meta.correlation,
        occurred_at: row.occurred_at,
        recorded_at: row.recorded_at,
        decoded: DecodedEvent::default(),
    })
}
