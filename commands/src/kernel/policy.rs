//! Policies: what must follow from a fact. Pure functions; a process that needs memory is an aggregate.

use domain::kernel::{Aggregate, Recorded};
use domain::shared::{CommandId, TenantId, Timestamp};
use uuid::Uuid;

use super::{AnyCommand, Command};

/// Reacts to the events of one kind of aggregate.
///
/// What it asks for gets ids derived from (policy, event, step), so that reacting again asks for nothing new.
pub trait Policy: 'static {
    /// Never changes; part of the ids of everything it asks for.
    const ID: &'static str;
    const START: Start;
    type Source: Aggregate;

    fn react(event: &Recorded<<Self::Source as Aggregate>::Event>, reactions: &mut Reactions);
}

/// Which part of history a policy reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// All of it.
    Beginning,
    /// Only what is recorded after the policy first ran; a new one must not mail all of history.
    Introduction,
}

/// Collects what must follow from one event.
pub struct Reactions {
    policy: &'static str,
    event: Uuid,
    tenant: TenantId,
    reactions: Vec<Reaction>,
}

/// One thing that must follow.
pub struct Reaction {
    /// Derived, so that the same reaction always has the same id.
    pub id: CommandId,
    pub tenant: TenantId,
    pub when: When,
    pub command: Box<dyn AnyCommand>,
}

/// When it must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    /// At this time, kept by a durable timer.
    At(Timestamp),
}

impl Reactions {
    pub fn new<E>(policy: &'static str, event: &Recorded<E>) -> Self {
        Self { policy, event: event.id(), tenant: event.tenant, reactions: Vec::new() }
    }

    /// Sends a command in the tenant of the event.
    pub fn command(&mut self, command: impl Command) {
        self.push(self.tenant, When::Now, command);
    }

    /// Sends a command in another tenant.
    pub fn command_in(&mut self, tenant: TenantId, command: impl Command) {
        self.push(tenant, When::Now, command);
    }

    /// Sends a command in the tenant of the event when the time has come, restarts notwithstanding.
    pub fn timer(&mut self, due: Timestamp, command: impl Command) {
        self.push(self.tenant, When::At(due), command);
    }

    pub fn into_vec(self) -> Vec<Reaction> {
        self.reactions
    }

    fn push(&mut self, tenant: TenantId, when: When, command: impl Command) {
        let name = format!("{}:{}", self.policy, self.reactions.len());
        let id = CommandId::new(Uuid::new_v5(&self.event, name.as_bytes()));
        self.reactions.push(Reaction { id, tenant, when, command: Box::new(command) });
    }
}
