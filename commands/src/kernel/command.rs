//! Trait of all commands: permission, subject, streams and decision.

use std::borrow::Cow;

use domain::shared::{CustomerId, Permission, SealError, Sealer, TargetUrl, TenantId, Timestamp};
use domain::tenancy::{Tenant, TenantStates};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Context, Demands, Desk, Hint, Refusal, rejected};

/// A request to change the state of a tenant.
///
/// Its fields are domain values, so that invalid input fails to parse and never reaches a verb. Its doc comments are
/// the descriptions in the API. Always `#[serde(deny_unknown_fields)]`. A command of one verb on one stream implements
/// [`StreamCommand`](super::StreamCommand) instead.
pub trait Command: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// The permission that the caller needs.
    const NEEDS: Permission;

    /// States of the tenant in which the command is decided. In any other state, and before the tenant is open, the
    /// kernel rejects it.
    const WHILE: TenantStates = TenantStates::ACTIVE;

    /// The party that the command acts for. A customer's token may act only for that customer; a command for the whole
    /// tenant, the default, is refused to every customer.
    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    /// Names the streams that the decision will read, as far as the command alone shows them. They are loaded before
    /// the decision. Affects speed only, never the outcome. By default none, as for a stream of the tenant itself.
    fn streams(&self, _hint: &mut Hint) {}

    /// Decides on the desk, all or nothing. Pure: if it reads a stream that is not in memory, it runs again on a new
    /// desk after the stream was loaded.
    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;

    /// Names the streams that the command draws on and that can sell out. Never affects a decision; for a short time
    /// after a stream sold out, the edge answers `SOLD_OUT_FOR_NOW` and no decision is made.
    fn demands(&self, _demands: &mut Demands) {}

    /// Encrypts the personal fields of the command. A field that is left open cannot be serialized.
    fn seal(&mut self, _sealer: &mut dyn Sealer) -> Result<(), SealError> {
        Ok(())
    }

    /// The URL that the engine will call because of this command. The API refuses URLs outside the public internet.
    fn target(&self) -> Option<&TargetUrl> {
        None
    }

    /// True if a repeat of the command by the engine must not be decided again although it changed nothing, because the
    /// outcome depends on settings that can change in between. Commands of callers are never decided again.
    const DECIDED_ONCE: bool = false;

    /// The time of the fact in another system, for imports. `None` means the time of the decision.
    fn occurred_at(&self) -> Option<Timestamp> {
        None
    }
}

/// The party that a command acts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// One customer.
    Customer(CustomerId),
    /// The tenant as a whole; not for customers.
    Tenant,
    /// The platform; only for operators and the engine.
    Platform,
}

/// Object-safe form of [`Command`].
pub trait AnyCommand: Send + Sync {
    fn name(&self) -> Cow<'static, str>;
    fn needs(&self) -> Permission;
    fn is_decided_once(&self) -> bool;
    fn subject(&self) -> Subject;
    /// Names the streams of the decision, that of the tenant included.
    fn streams(&self, tenant: TenantId, hint: &mut Hint);
    /// Rejects the command if the state of the tenant does not allow it, else decides it.
    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;
    fn demands(&self, demands: &mut Demands);
    fn seal(&mut self, sealer: &mut dyn Sealer) -> Result<(), SealError>;
    fn target(&self) -> Option<&TargetUrl>;
    fn occurred_at(&self) -> Option<Timestamp>;
    fn to_json(&self) -> Result<String, serde_json::Error>;
    fn to_value(&self) -> Result<serde_json::Value, serde_json::Error>;
}

impl<C: Command> AnyCommand for C {
    fn name(&self) -> Cow<'static, str> {
        C::schema_name()
    }

    fn needs(&self) -> Permission {
        C::NEEDS
    }

    fn is_decided_once(&self) -> bool {
        C::DECIDED_ONCE
    }

    fn subject(&self) -> Subject {
        Command::subject(self)
    }

    fn streams(&self, tenant: TenantId, hint: &mut Hint) {
        if C::WHILE != TenantStates::ANY {
            hint.stream::<Tenant>(tenant);
        }
        Command::streams(self, hint);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        if C::WHILE != TenantStates::ANY {
            desk.read::<Tenant>(context.tenant)?.require(C::WHILE).map_err(rejected)?;
        }
        Command::decide(self, desk, context)
    }

    fn demands(&self, demands: &mut Demands) {
        Command::demands(self, demands);
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

    fn to_value(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(self)
    }
}
