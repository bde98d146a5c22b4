//! Encoded events, and the cache of their decoded form.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use domain::kernel::{Actor, Aggregate, Recorded, Unreadable};
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use uuid::Uuid;

/// Encoded event, as read from the log or from Kafka.
#[derive(Clone, Debug)]
pub struct RawEvent {
    pub lane: i16,
    /// Position within the lane, from 1, without gaps.
    pub position: i64,
    /// Epoch in which the event was written; see [`Epochs`](crate::ports::Epochs).
    pub epoch: i64,
    pub tenant: TenantId,
    pub tenant_position: i64,
    pub stream_type: Box<str>,
    pub stream: Uuid,
    /// Number within the stream, from 1, without gaps.
    pub sequence: i64,
    pub principal: Principal,
    pub command: CommandId,
    /// Number within the events of the command, from 0.
    pub index: i16,
    /// Public event name (`stock.reserved`).
    pub kind: Box<str>,
    pub version: i16,
    /// JSON object as text, exactly as written.
    pub payload: Box<str>,
    pub actor: Actor,
    pub occurred_at: Timestamp,
    pub recorded_at: Timestamp,
    /// Cache of the decoded event, because several models read it.
    pub decoded: DecodedEvent,
}

/// Cache of a decoded event, independent of its type.
#[derive(Debug, Default)]
pub struct DecodedEvent(OnceLock<Arc<dyn Any + Send + Sync>>);

impl Clone for DecodedEvent {
    /// A clone starts with an empty cache, because the fields of a cloned event may be changed.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl RawEvent {
    /// Decodes the event as one of the given aggregate; parses it at the first call only.
    pub fn read<A: Aggregate>(&self) -> Result<Arc<Recorded<A::Event>>, Unreadable> {
        if let Some(Ok(decoded)) = self.decoded.0.get().map(|decoded| Arc::clone(decoded).downcast()) {
            return Ok(decoded);
        }
        let event = Arc::new(self.recorded(A::read(&self.kind, self.version, &self.payload)?));
        // If another thread was faster, it has cached an equal event.
        self.decoded.0.set(Arc::<Recorded<A::Event>>::clone(&event)).ok();
        Ok(event)
    }

    /// Combines the metadata of this record with a decoded event.
    pub fn recorded<E>(&self, event: E) -> Recorded<E> {
        Recorded {
            tenant: self.tenant,
            stream: self.stream,
            sequence: self.sequence,
            tenant_position: self.tenant_position,
            principal: self.principal,
            command: self.command,
            index: self.index,
            actor: self.actor.clone(),
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            event,
        }
    }
}
