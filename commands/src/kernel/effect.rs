//! Effects: calls to partners outside. Each has one outcome, which can come back as a command.

use domain::shared::TenantId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::AnyCommand;

/// A call to a partner outside: a charge, a mail, a shipment.
///
/// Its fields are stored as the request until the outcome is recorded. A field that is added later needs a default.
pub trait Effect: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name under which requests are stored. Never changes.
    const NAME: &'static str;
    /// Target that carries the effect out (`mail`). A failure delays only effects of the same tenant on this target.
    const TARGET: &'static str;

    /// The command that records the outcome, in the tenant of the event. `None` if no aggregate needs the outcome; an
    /// effect that was refused or given up is then kept for an operator.
    fn follow_up(&self, outcome: &Outcome) -> Option<Box<dyn AnyCommand>>;
}

/// Final result of an effect. Each effect has exactly one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The target carried the effect out, with this answer.
    Done { answer: serde_json::Value },
    /// The partner refused for good; a retry would not help.
    Refused { reason: String },
    /// The limit of attempts or time is reached; the result at the partner is unknown.
    GivenUp { reason: String },
}

/// An effect that a policy requests.
pub struct EffectRequest {
    /// Derived from policy, event and step, so that a repeated reaction requests nothing new. The partner gets it as
    /// idempotency key.
    pub id: Uuid,
    pub tenant: TenantId,
    pub name: &'static str,
    pub target: &'static str,
    body: Box<dyn Body + Sync>,
}

impl EffectRequest {
    pub(super) fn new<E: Effect>(id: Uuid, tenant: TenantId, effect: E) -> Self {
        Self { id, tenant, name: E::NAME, target: E::TARGET, body: Box::new(effect) }
    }

    /// The request as it is stored.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        self.body.to_json()
    }
}

trait Body: Send {
    fn to_json(&self) -> Result<String, serde_json::Error>;
}

impl<E: Effect> Body for E {
    fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

type FollowUp = fn(&str, &Outcome) -> Result<Option<Box<dyn AnyCommand>>, serde_json::Error>;

/// Descriptor of an effect type.
#[derive(Clone, Copy)]
pub struct EffectDescriptor {
    pub name: &'static str,
    pub target: &'static str,
    follow_up: FollowUp,
}

impl EffectDescriptor {
    pub(super) fn of<E: Effect>() -> Self {
        Self { name: E::NAME, target: E::TARGET, follow_up: follow_up::<E> }
    }

    /// The command that records the outcome of a stored request.
    pub fn follow_up(
        &self,
        request: &str,
        outcome: &Outcome,
    ) -> Result<Option<Box<dyn AnyCommand>>, serde_json::Error> {
        (self.follow_up)(request, outcome)
    }
}

fn follow_up<E: Effect>(request: &str, outcome: &Outcome) -> Result<Option<Box<dyn AnyCommand>>, serde_json::Error> {
    serde_json::from_str::<E>(request).map(|effect| effect.follow_up(outcome))
}
