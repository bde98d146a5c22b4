//! Effects: what must be done outside, and how what became of it comes back as a command.

use domain::shared::TenantId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::AnyCommand;

/// Something that a partner outside does for us: charges, sends, ships.
///
/// Its fields are the request. It is stored until its outcome is known, so a field that is added later needs a default.
pub trait Effect: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Never changes; stored requests are found by it.
    const NAME: &'static str;
    /// Who does it (`mail`). A tenant's effects on one target wait for each other's failures, and for nobody else's.
    const TARGET: &'static str;

    /// The command that takes note of the outcome, in the tenant of the event. Nothing where nobody needs to know;
    /// what was refused or given up is then kept for a person to look at.
    fn follow_up(&self, outcome: &Outcome) -> Option<Box<dyn AnyCommand>>;
}

/// What became of an effect. There is exactly one, and it never changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The partner did it; with what it answered.
    Done { answer: serde_json::Value },
    /// The partner will not do it, however often it is asked.
    Refused { reason: String },
    /// Nobody knows: it was tried as often or as long as it may be.
    GivenUp { reason: String },
}

/// One effect that a policy asks for.
pub struct EffectWish {
    /// Derived, so that asking again asks for nothing new; the partner gets it as idempotency key.
    pub id: Uuid,
    pub tenant: TenantId,
    pub name: &'static str,
    pub target: &'static str,
    request: Box<dyn Request + Sync>,
}

impl EffectWish {
    pub(super) fn new<E: Effect>(id: Uuid, tenant: TenantId, effect: E) -> Self {
        Self { id, tenant, name: E::NAME, target: E::TARGET, request: Box::new(effect) }
    }

    /// The request as it is stored.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        self.request.to_json()
    }
}

trait Request: Send {
    fn to_json(&self) -> Result<String, serde_json::Error>;
}

impl<E: Effect> Request for E {
    fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

type FollowUp = fn(&str, &Outcome) -> Result<Option<Box<dyn AnyCommand>>, serde_json::Error>;

/// One kind of effect.
#[derive(Clone, Copy)]
pub struct EffectKind {
    pub name: &'static str,
    pub target: &'static str,
    follow_up: FollowUp,
}

impl EffectKind {
    pub(super) fn of<E: Effect>() -> Self {
        Self { name: E::NAME, target: E::TARGET, follow_up: follow_up::<E> }
    }

    /// The command that takes note of the outcome of a stored request.
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
