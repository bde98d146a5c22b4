//! The port to background work, for operators: dead letters, positions of policies, circuit breakers.

use domain::shared::{TenantId, Timestamp};
use futures::future::BoxFuture;
use projections::ports::Fault;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// Background work, as operators see it. `scope` is the tenant whose work is shown and changed; `None` is all tenants.
pub trait Work: Send + Sync {
    /// Dead letters after a cursor, newest first, at most `first`.
    fn dead_letters(
        &self,
        scope: Option<TenantId>,
        after: Option<LetterCursor>,
        first: u32,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, Fault>>;

    /// Removes a dead letter; with `requeue`, its work is due again at once.
    fn remove_dead_letter(
        &self,
        scope: Option<TenantId>,
        id: Uuid,
        requeue: bool,
    ) -> BoxFuture<'_, Result<LetterRemoval, Fault>>;

    /// The position of each policy in each lane.
    fn processes(&self) -> BoxFuture<'_, Result<Vec<ProcessStatus>, Fault>>;

    /// The circuit breakers of partners.
    fn breakers(&self, scope: Option<TenantId>) -> BoxFuture<'_, Result<Vec<BreakerState>, Fault>>;
}

/// Work that failed for good, or an event that cannot be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    pub id: Uuid,
    pub tenant: TenantId,
    pub kind: DeadLetterKind,
    /// The policy that asked for the work, or the policy or read model that cannot read the event.
    pub source: String,
    /// Name of the command or effect, or the type of the stream.
    pub name: String,
    /// The command or effect, or the place of the event.
    pub body: Value,
    /// Error of the last attempt.
    pub reason: String,
    pub attempts: i32,
    pub failed_at: Timestamp,
}

/// Kind of work that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeadLetterKind {
    /// A command of a policy that can never be executed.
    Command,
    /// A call to a partner that was refused or given up.
    Effect,
    /// A stream with an event that a policy cannot read. The engine tries it again by itself; a requeue makes it do so now.
    PolicyStream,
    /// An event that a read model cannot fold. The engine tries it again by itself; a requeue makes it do so now.
    ReadModelKey,
    /// A webhook subscription that the engine paused after the last attempt. A requeue resumes it.
    Webhook,
}

impl DeadLetterKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Command, Self::Effect, Self::PolicyStream, Self::ReadModelKey, Self::Webhook];

    /// Name of the kind in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Effect => "effect",
            Self::PolicyStream => "policy_stream",
            Self::ReadModelKey => "read_model_key",
            Self::Webhook => "webhook",
        }
    }
}

/// Place of a dead letter in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterCursor {
    pub failed_at: Timestamp,
    pub id: Uuid,
}

/// Result of the removal of a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub enum LetterRemoval {
    /// The letter as it was. An event that cannot be read stays listed until it can be.
    Removed(Box<DeadLetter>),
    /// There is no such letter in the scope.
    Unknown,
    /// The letter cannot be requeued or discarded, for this reason.
    Refused(String),
}

/// Position of a policy in one lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    pub policy: String,
    pub lane: i16,
    pub position: i64,
    /// Number of positions between the policy and the end of the lane.
    pub lag: i64,
    /// Number of streams in which the policy waits at an event that it cannot read.
    pub parked_streams: i64,
}

/// Circuit breaker of a partner of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerState {
    pub tenant: TenantId,
    /// Target of the effects; or `webhook` and the id of a subscription, with `:replay` for its replay.
    pub partner: String,
    pub state: Breaker,
    /// Number of consecutive failures.
    pub failures: i32,
    /// End of the time in which the partner is not called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_until: Option<Timestamp>,
}

/// State of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Breaker {
    /// The partner is called.
    Closed,
    /// The partner is not called.
    Open,
    /// The next call tests the partner.
    HalfOpen,
}
