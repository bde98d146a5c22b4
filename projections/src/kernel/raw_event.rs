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
    /// Id shared by everything that followed from one request, if the event has one.
    pub correlation: Option<Uuid>,
    pub occurred_at: Timestamp,
    pub recorded_at: Timestamp,
    /// Cache of the decoded event, because several models read it.
    pub decoded: DecodedEvent,
}

/// Cache of a decoded event, independent of its type.
#[derive(Debug, Default)]
pub struct DecodedEvent {
    cache: OnceLock<Arc<dyn Any + Send + Sync>>,
    /// Reason for which the event cannot be decoded whatever its payload is.
    unreadable: Option<Box<str>>,
}

impl DecodedEvent {
    /// An event whose metadata cannot be read, for this reason. Its place in the log is known, so only its readers are
    /// concerned.
    pub fn unreadable(reason: impl Into<Box<str>>) -> Self {
        Self { cache: OnceLock::new(), unreadable: Some(reason.into()) }
    }
}

impl Clone for DecodedEvent {
    /// A clone starts with an empty cache, because the fields of a cloned event may be changed.
    fn clone(&self) -> Self {
        Self { cache: OnceLock::new(), unreadable: self.unreadable.clone() }
    }
}

impl RawEvent {
    /// Decodes the event as one of the given aggregate; parses it at the first call only.
    pub fn read<A: Aggregate>(&self) -> Result<Arc<Recorded<A::Event>>, Unreadable> {
        if let Some(reason) = self.unreadable() {
            return Err(Unreadable { name: self.kind.to_string(), reason: reason.into() });
        }
        if let Some(Ok(decoded)) = self.decoded.cache.get().map(|decoded| Arc::clone(decoded).downcast()) {
            return Ok(decoded);
        }
        let event = Arc::new(self.recorded(A::read(&self.kind, self.version, &self.payload)?));
        // If another thread was faster, it has cached an equal event.
        self.decoded.cache.set(Arc::<Recorded<A::Event>>::clone(&event)).ok();
        Ok(event)
    }

    /// Reason for which the metadata of the event cannot be read. Its actor is then not that of the log.
    pub fn unreadable(&self) -> Option<&str> {
        self.decoded.unreadable.as_deref()
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
            correlation: self.correlation,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            event,
        }
    }
}
