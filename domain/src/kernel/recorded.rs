//! Recorded event: an event with its place in the log, its time and its actor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::shared::{CommandId, CustomerId, Principal, TenantId, Timestamp};

/// One event with its metadata, as stored in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<E> {
    pub tenant: TenantId,
    /// Id of the stream that contains the event.
    pub stream: Uuid,
    /// Number within the stream, from 1, without gaps.
    pub sequence: i64,
    /// Tenant position: number within the tenant, from 1, without gaps.
    pub tenant_position: i64,
    /// Sender of the command. Tenant, principal, command and index together identify the event for ever.
    pub principal: Principal,
    pub command: CommandId,
    /// Number within the events of the command, from 0.
    pub index: i16,
    /// Actor on whose behalf the command was sent, for audits.
    pub actor: Actor,
    /// Id shared by everything that followed from one request; see [`correlation_id`](Self::correlation_id).
    pub correlation: Option<Uuid>,
    /// Time of the fact: that of the other system for an imported order, otherwise `recorded_at`.
    pub occurred_at: Timestamp,
    /// Time of the decision; never decreases within a tenant.
    pub recorded_at: Timestamp,
    pub event: E,
}

impl<E> Recorded<E> {
    /// Event id, computed by [`event_id`]; the same after a restore of the log.
    pub fn id(&self) -> Uuid {
        event_id(self.tenant, self.principal, self.command, self.index)
    }

    /// Id that the commands, timers and effects of this event inherit: that of the request, or else the id of the command
    /// that began the chain.
    pub fn correlation_id(&self) -> Uuid {
        self.correlation.unwrap_or(self.command.uuid())
    }

    /// Replaces the event and keeps the metadata.
    pub fn map<T>(self, event: T) -> Recorded<T> {
        Recorded {
            tenant: self.tenant,
            stream: self.stream,
            sequence: self.sequence,
            tenant_position: self.tenant_position,
            principal: self.principal,
            command: self.command,
            index: self.index,
            actor: self.actor,
            correlation: self.correlation,
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            event,
        }
    }
}

/// Event id: UUIDv5 of (tenant, principal, command, index). A repeated command yields the same ids.
pub fn event_id(tenant: TenantId, principal: Principal, command: CommandId, index: i16) -> Uuid {
    let mut name = [0; 34];
    name[..16].copy_from_slice(principal.uuid().as_bytes());
    name[16..32].copy_from_slice(command.uuid().as_bytes());
    name[32..].copy_from_slice(&index.to_be_bytes());
    Uuid::new_v5(&tenant.uuid(), &name)
}

/// Actor of an event, for audits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// A customer on their own behalf.
    Customer(CustomerId),
    /// A member of the tenant's team.
    Member(Principal),
    /// An operator of the platform.
    Operator(Principal),
    /// The engine itself, with the name of the policy or timer.
    Engine(String),
}
