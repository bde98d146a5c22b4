//! The building blocks of commands, policies and effects. A new context does not change them.

mod canonical;
mod command;
mod context;
mod demand;
mod desk;
mod effect;
mod error_text;
mod policy;
mod refusal;
mod registry;
mod shape;
mod state;
mod stream_command;

pub use domain::tenancy::TenantStates;

pub use command::{AnyCommand, Command, Subject};
pub use context::Context;
pub use demand::{Demand, Demands};
pub use desk::{Desk, Draft, Hint, STREAMS_MOST, StateLookup, StreamRef, Streams};
pub use effect::{Effect, EffectDescriptor, EffectRequest, Outcome};
pub use error_text::plain_words;
pub use policy::{Policy, Reaction, Reactions, Requests, Start, TimerKey, When};
pub use refusal::{Misuse, NotNow, Refusal, Rejected, rejected};
pub use registry::{CommandDescriptor, Commands, PolicyDescriptor, StoredEvent};
pub use state::{State, StateRegistry};
pub use stream_command::{StreamCommand, StreamOf, VerbOf};

/// Visits every command, policy and effect, one call each.
pub trait Visitor {
    /// Announces the bounded context of the commands, policies and effects that follow.
    fn context(&mut self, _name: &'static str) {}
    fn command<C: Command>(&mut self);
    fn policy<P: Policy>(&mut self);
    /// Empty by default: only a visitor that executes effects needs their types.
    fn effect<E: Effect>(&mut self) {}
}
