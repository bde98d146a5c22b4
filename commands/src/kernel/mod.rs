//! What a command and a policy are. Written once; no context needs to change it.

mod catalogue;
mod command;
mod desk;
mod policy;
mod refusal;
mod shape;
mod state;
mod wording;

pub use catalogue::{CommandKind, Commands, PolicyKind, Stored};
pub use command::{AnyCommand, Command, Context, Subject};
pub use desk::{Desk, Draft, Hint, STREAMS_MOST, Shelf, StreamRef};
pub use policy::{Policy, Reaction, Reactions, Start, When};
pub use refusal::{Misuse, NotNow, Refusal, Rejected, rejected};
pub use state::{Kinds, State};

/// Sees every command and every policy of the house, one call each.
pub trait Visitor {
    fn command<C: Command>(&mut self);
    fn policy<P: Policy>(&mut self);
}
