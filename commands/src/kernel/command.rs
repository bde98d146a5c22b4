//! One wish of a caller, and what the engine must know to grant or refuse it.

use std::borrow::Cow;

use domain::kernel::Actor;
use domain::shared::{CommandId, CustomerId, Permission, Principal, SealError, Sealer, TargetUrl, TenantId, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Desk, Hint, Refusal, Scarce};

/// A message that asks the shop to do something.
///
/// Its fields are domain values, so what does not parse never reaches a verb; its doc comments are the API's own text.
/// Always `#[serde(deny_unknown_fields)]`.
pub trait Command: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// What the caller must be allowed to do. It has no default, so that it cannot be forgotten.
    const NEEDS: Permission;

    /// For whom it acts: a customer's token may act only for that customer.
    fn subject(&self) -> Subject;

    /// The streams that are known to be needed. Only speed depends on it, never the outcome.
    fn streams(&self, hint: &mut Hint);

    /// Decides on the desk: all of it, or nothing. Pure, and run again when a stream was missing.
    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;

    /// What it takes of things that may run out. Only speed depends on it, never the outcome.
    fn takes(&self, _scarce: &mut Scarce) {}

    /// Seals its personal fields; what stays open cannot be stored.
    fn seal(&mut self, _sealer: &mut dyn Sealer) -> Result<(), SealError> {
        Ok(())
    }

    /// An address that the engine shall call from now on; the edge refuses those that must not be called.
    fn target(&self) -> Option<&TargetUrl> {
        None
    }

    /// When it happened outside, for imports and offline tills; otherwise it happens when it is recorded.
    fn occurred_at(&self) -> Option<Timestamp> {
        None
    }
}

/// For whom a command acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// For one customer.
    Customer(CustomerId),
    /// For the tenant as a whole; customers cannot.
    Tenant,
    /// For the platform; only operators and the engine can.
    Platform,
}

/// The circumstances of a decision.
#[derive(Clone, Debug)]
pub struct Context {
    /// The lane's time: never goes backwards.
    pub now: Timestamp,
    pub tenant: TenantId,
    pub principal: Principal,
    pub actor: Actor,
    pub command: CommandId,
}

/// Any command, its type forgotten.
pub trait AnyCommand: Send + Sync {
    fn name(&self) -> Cow<'static, str>;
    fn needs(&self) -> Permission;
    fn subject(&self) -> Subject;
    fn streams(&self, hint: &mut Hint);
    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;
    fn takes(&self, scarce: &mut Scarce);
    fn seal(&mut self, sealer: &mut dyn Sealer) -> Result<(), SealError>;
    fn target(&self) -> Option<&TargetUrl>;
    fn occurred_at(&self) -> Option<Timestamp>;
    fn to_json(&self) -> Result<String, serde_json::Error>;
}

impl<C: Command> AnyCommand for C {
    fn name(&self) -> Cow<'static, str> {
        C::schema_name()
    }

    fn needs(&self) -> Permission {
        C::NEEDS
    }

    fn subject(&self) -> Subject {
        Command::subject(self)
    }

    fn streams(&self, hint: &mut Hint) {
        Command::streams(self, hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        Command::decide(self, desk, context)
    }

    fn takes(&self, scarce: &mut Scarce) {
        Command::takes(self, scarce);
    }

    fn seal(&mut self, sealer: &mut dyn Sealer) -> Result<(), SealError> {
        Command::seal(self, sealer)
    }

    fn target(&self) -> Option<&TargetUrl> {
        Command::target(self)
    }

    fn occurred_at(&self) -> Option<Timestamp> {
        Command::occurred_at(self)
    }

    fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}
