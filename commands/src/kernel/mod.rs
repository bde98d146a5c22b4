//! What a command and a policy are. Written once; no context needs to change it.

mod catalogue;
mod command;
mod desk;
mod effect;
mod policy;
mod refusal;
mod scarce;
mod shape;
mod state;
mod wording;

pub use catalogue::{CommandKind, Commands, PolicyKind, Stored};
pub use command::{AnyCommand, Command, Context, Subject};
pub use desk::{Desk, Draft, Hint, STREAMS_MOST, Shelf, StreamRef};
pub use effect::{Effect, EffectKind, EffectWish, Outcome};
pub use policy::{Policy, Reaction, Reactions, Start, When};
pub use refusal::{Misuse, NotNow, Refusal, Rejected, rejected};
pub use scarce::{Scarce, Taking};
pub use state::{Kinds, State};

/// Sees every command, policy and effect of the house, one call each.
pub trait Visitor {
    /// Announces the bounded context of the commands, policies and effects that follow.
    fn context(&mut self, _name: &'static str) {}
    fn command<C: Command>(&mut self);
    fn policy<P: Policy>(&mut self);
    /// Only who carries effects out needs to see them.
    fn effect<E: Effect>(&mut self) {}
}
