//! A fact together with where, when and by whom it was recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::shared::{CommandId, CustomerId, Principal, TenantId, Timestamp};

/// One event as the log keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded<E> {
    pub tenant: TenantId,
    /// The id of the stream it belongs to.
    pub stream: Uuid,
    /// Its number within the stream, from 1, without gaps.
    pub sequence: i64,
    /// Its number within the tenant, from 1, without gaps.
    pub tenant_position: i64,
    /// Who sent the command, and the command's id; together with `index` they identify the event for ever.
    pub principal: Principal,
    pub command: CommandId,
    /// Its number within the command, from 0.
    pub index: i16,
    /// On whose behalf, in words that auditors read.
    pub actor: Actor,
    /// When it happened outside; differs from `recorded_at` for imports and offline tills.
    pub occurred_at: Timestamp,
    /// When the log took it; never goes backwards within a tenant.
    pub recorded_at: Timestamp,
    pub event: E,
}

impl<E> Recorded<E> {
    /// The id that survives export, import and restore.
    pub fn id(&self) -> Uuid {
        event_id(self.tenant, self.principal, self.command, self.index)
    }

    /// The same place in the log with the event in another form.
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
            occurred_at: self.occurred_at,
            recorded_at: self.recorded_at,
            event,
        }
    }
}

/// UUIDv5 of (tenant, principal, command, index): the same command always yields the same event ids (design 4.4).
pub fn event_id(tenant: TenantId, principal: Principal, command: CommandId, index: i16) -> Uuid {
    let mut name = [0; 34];
    name[..16].copy_from_slice(principal.uuid().as_bytes());
    name[16..32].copy_from_slice(command.uuid().as_bytes());
    name[32..].copy_from_slice(&index.to_be_bytes());
    Uuid::new_v5(&tenant.uuid(), &name)
}

/// Who acted, as auditors read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Actor {
    /// A customer, for herself.
    Customer(CustomerId),
    /// A person of the tenant's team.
    Member(Principal),
    /// A person of the platform.
    Operator(Principal),
    /// The engine itself; names the policy or timer.
    Engine(String),
}
