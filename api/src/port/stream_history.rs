//! History of one stream, as auditors read it.

use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, Timestamp};
use uuid::Uuid;

/// Event of a stream as it is stored, except that personal fields are hidden.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEvent {
    /// Number of the event in its stream, from 1.
    pub sequence: i64,
    /// Position among the events of the tenant.
    pub position: i64,
    pub kind: String,
    pub version: i16,
    pub occurred_at: Timestamp,
    pub recorded_at: Timestamp,
    pub actor: Actor,
    pub principal: Principal,
    /// Type of the command.
    pub command: String,
    pub command_id: CommandId,
    /// Id shared by everything that followed from one request.
    pub correlation: Option<Uuid>,
    /// Id of the event that caused the command.
    pub causation: Option<Uuid>,
    /// A JSON object.
    pub payload: serde_json::Value,
}

/// Events of a stream that an auditor reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamQuery {
    /// Type of the stream, such as `Order`.
    pub stream_type: String,
    pub stream: Uuid,
    /// Number of the event after which the page begins.
    pub after: i64,
    /// Maximum number of events.
    pub first: u32,
}
