//! Policies: what must follow from a fact. Pure functions; a process that needs memory is an aggregate.

use domain::kernel::{Aggregate, Recorded};
use domain::shared::{CommandId, TenantId, Timestamp};
use uuid::Uuid;

use super::{AnyCommand, Command, Effect, EffectWish};

/// Reacts to the events of one kind of aggregate.
///
/// What it asks for gets ids derived from (policy, event, step), so that reacting again asks for nothing new.
pub trait Policy: 'static {
    /// Never changes; part of the ids of everything it asks for.
    const ID: &'static str;
    const START: Start;
    type Source: Aggregate;
    /// The public names of the events it reacts to. It is shown no others: most events concern no policy at all, and
    /// need not even be read.
    const EVENTS: &'static [&'static str];

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
    commands: Vec<Reaction>,
    effects: Vec<EffectWish>,
}

/// One command that must follow.
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
        Self { policy, event: event.id(), tenant: event.tenant, commands: Vec::new(), effects: Vec::new() }
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

    /// Has something done outside. It is done under one key, however often it must be tried.
    pub fn effect(&mut self, effect: impl Effect) {
        let id = self.derived("effect:", self.effects.len());
        self.effects.push(EffectWish::new(id, self.tenant, effect));
    }

    /// The commands that must follow.
    pub fn into_vec(self) -> Vec<Reaction> {
        self.commands
    }

    /// The commands that must follow, and what must be done outside.
    pub fn into_parts(self) -> (Vec<Reaction>, Vec<EffectWish>) {
        (self.commands, self.effects)
    }

    fn push(&mut self, tenant: TenantId, when: When, command: impl Command) {
        let id = CommandId::new(self.derived("", self.commands.len()));
        self.commands.push(Reaction { id, tenant, when, command: Box::new(command) });
    }

    /// Commands and effects are counted apart, so that a policy which learns to do one keeps the ids of the other.
    fn derived(&self, kind: &str, step: usize) -> Uuid {
        Uuid::new_v5(&self.event, format!("{}:{kind}{step}", self.policy).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use domain::kernel::Actor;
    use domain::shared::{OrderId, Principal};
    use serde::{Deserialize, Serialize};

    use super::super::{Outcome, Visitor};
    use super::*;
    use crate::orders::AcceptOrder;

    #[derive(Serialize, Deserialize)]
    struct PrintLabel;

    impl Effect for PrintLabel {
        const NAME: &'static str = "print_label";
        const TARGET: &'static str = "printer";

        fn follow_up(&self, _: &Outcome) -> Option<Box<dyn AnyCommand>> {
            None
        }
    }

    fn asked(policy: &'static str, command: CommandId) -> (Vec<Reaction>, Vec<EffectWish>) {
        let event = Recorded {
            tenant: TenantId::new(Uuid::from_u128(1)),
            stream: Uuid::from_u128(2),
            sequence: 1,
            tenant_position: 1,
            principal: Principal::ENGINE,
            command,
            index: 0,
            actor: Actor::Engine("a test".into()),
            occurred_at: Timestamp::default(),
            recorded_at: Timestamp::default(),
            event: (),
        };
        let mut reactions = Reactions::new(policy, &event);
        reactions.command(AcceptOrder { order: OrderId::new(event.stream) });
        reactions.effect(PrintLabel);
        reactions.effect(PrintLabel);
        reactions.into_parts()
    }

    #[test]
    fn what_is_asked_for_has_an_id_of_policy_event_and_step_alone() {
        let (first, other) = (CommandId::new(Uuid::from_u128(7)), CommandId::new(Uuid::from_u128(8)));
        let ids = |policy, command| {
            let (commands, effects) = asked(policy, command);
            let commands = commands.iter().map(|reaction| reaction.id.uuid());
            commands.chain(effects.iter().map(|wish| wish.id)).collect::<Vec<_>>()
        };
        assert_eq!(ids("ship", first), ids("ship", first));
        let mut all = [ids("ship", first), ids("ship", other), ids("charge", first)].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 9);
    }

    struct Listening;

    impl Visitor for Listening {
        fn command<C: Command>(&mut self) {}

        fn policy<P: Policy>(&mut self) {
            let schema = schemars::schema_for!(<P::Source as Aggregate>::Event);
            let known = schema.as_value()["oneOf"].as_array().cloned().unwrap_or_default();
            assert!(!P::EVENTS.is_empty(), "{} listens to nothing", P::ID);
            for event in P::EVENTS {
                let is_known = known.iter().any(|variant| variant["required"][0] == *event);
                assert!(is_known, "{} listens to {event}, which {} never says", P::ID, P::Source::TYPE);
            }
        }
    }

    #[test]
    fn every_policy_listens_to_events_that_there_are() {
        crate::visit(&mut Listening);
    }
}
