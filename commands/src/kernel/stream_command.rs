//! Short form of a command that runs one verb on one stream.

use domain::kernel::{Aggregate, Decision};
use domain::shared::Permission;
use domain::tenancy::TenantStates;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Command, Context, Desk, Hint, Refusal, Subject};

/// Function of a command of type `C` that returns the id of its stream.
pub type StreamOf<C> = fn(&C) -> <<C as StreamCommand>::Aggregate as Aggregate>::Id;

/// Function of a command of type `C` that runs its verb on the state of the stream.
pub type VerbOf<C> = fn(&C, &<C as StreamCommand>::Aggregate, &Context) -> Decision<<C as StreamCommand>::Aggregate>;

/// A command that is decided by one verb of one aggregate, whose id follows from its fields. Every such command is a
/// [`Command`]. A command that reads several streams, seals fields or can sell out implements [`Command`] itself.
pub trait StreamCommand: Serialize + DeserializeOwned + JsonSchema + Send + Sync + Sized + 'static {
    type Aggregate: Aggregate;

    /// The permission that the caller needs.
    const NEEDS: Permission;

    /// States of the tenant in which the command is decided; see [`Command::WHILE`].
    const WHILE: TenantStates = TenantStates::ACTIVE;

    /// The stream of the command.
    const STREAM: StreamOf<Self>;

    /// The decision.
    const VERB: VerbOf<Self>;

    /// The party that the command acts for; see [`Command::subject`].
    fn subject(&self) -> Subject {
        Subject::Tenant
    }
}

impl<C: StreamCommand> Command for C {
    const NEEDS: Permission = C::NEEDS;
    const WHILE: TenantStates = C::WHILE;

    fn subject(&self) -> Subject {
        StreamCommand::subject(self)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<C::Aggregate>(C::STREAM(self));
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<C::Aggregate>(C::STREAM(self), |state| C::VERB(self, state, context))
    }
}
