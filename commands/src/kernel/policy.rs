//! Policies: pure functions that answer an event with commands, timers and effects. They have no state; a process that
//! must remember something is written as an aggregate.

use std::borrow::Cow;

use domain::kernel::{Aggregate, Recorded};
use domain::shared::{CommandId, TenantId, Timestamp};
use uuid::Uuid;

use super::{AnyCommand, Command, Effect, EffectRequest};

/// Reacts to the events of one aggregate type.
///
/// Commands, timers and effects get ids derived from (policy, event, step), so that a repeated delivery of the event
/// requests nothing new.
pub trait Policy: 'static {
    /// Part of the ids of all commands, timers and effects that the policy requests. Never changes.
    const ID: &'static str;
    const START: Start;
    type Source: Aggregate;
    /// Public names of the events that the policy reacts to. Other events are not decoded for it.
    const EVENTS: &'static [&'static str];

    fn react(event: &Recorded<<Self::Source as Aggregate>::Event>, reactions: &mut Reactions);
}

/// The part of history that a policy reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// All events.
    Beginning,
    /// Events recorded after the policy first ran. For policies such as one that sends mails: none should be sent about
    /// old orders.
    Introduction,
}

/// Collects the commands, timers and effects that follow from one event.
pub struct Reactions {
    policy: &'static str,
    event: Uuid,
    tenant: TenantId,
    requests: Requests,
}

/// Everything that follows from one event. Timers are cancelled before others are set.
#[derive(Default)]
pub struct Requests {
    pub commands: Vec<Reaction>,
    /// Keys of the timers to cancel.
    pub cancelled: Vec<TimerKey>,
    pub effects: Vec<EffectRequest>,
}

/// Name of a timer among those of one policy for one stream.
pub type TimerKey = Cow<'static, str>;

/// A command that follows from an event.
pub struct Reaction {
    /// Derived from policy, event and step, so that a repeated reaction has the same id.
    pub id: CommandId,
    pub tenant: TenantId,
    pub when: When,
    pub command: Box<dyn AnyCommand>,
}

/// Due time of a reaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    /// At this time, by the durable timer of this key.
    At {
        due: Timestamp,
        key: TimerKey,
    },
}

impl Reactions {
    pub fn new<E>(policy: &'static str, event: &Recorded<E>) -> Self {
        Self { policy, event: event.id(), tenant: event.tenant, requests: Requests::default() }
    }

    /// Sends a command in the tenant of the event.
    pub fn command(&mut self, command: impl Command) {
        self.push(self.tenant, When::Now, command);
    }

    /// Sends a command in another tenant.
    pub fn command_in(&mut self, tenant: TenantId, command: impl Command) {
        self.push(tenant, When::Now, command);
    }

    /// Sets a timer: sends a command in the tenant of the event at a given time. The timer survives restarts. It replaces
    /// an earlier timer of this policy with the same key for the same stream.
    pub fn timer(&mut self, key: impl Into<TimerKey>, due: Timestamp, command: impl Command) {
        self.push(self.tenant, When::At { due, key: key.into() }, command);
    }

    /// Cancels the timer of this policy with this key for the stream of the event, if there is one.
    pub fn cancel(&mut self, key: impl Into<TimerKey>) {
        self.requests.cancelled.push(key.into());
    }

    /// Requests an effect. All its attempts carry the same idempotency key.
    pub fn effect(&mut self, effect: impl Effect) {
        let id = self.derived("effect:", self.requests.effects.len());
        self.requests.effects.push(EffectRequest::new(id, self.tenant, effect));
    }

    /// The collected requests.
    pub fn into_requests(self) -> Requests {
        self.requests
    }

    fn push(&mut self, tenant: TenantId, when: When, command: impl Command) {
        let id = CommandId::new(self.derived("", self.requests.commands.len()));
        self.requests.commands.push(Reaction { id, tenant, when, command: Box::new(command) });
    }

    /// Id of a request. Commands (`kind` is empty) and effects are counted separately, so that the ids of one kind stay
    /// the same when a later version of the policy requests more of the other kind.
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

    fn reactions(policy: &'static str, command: CommandId) -> Requests {
        let event = Recorded {
            tenant: TenantId::new(Uuid::from_u128(1)),
            stream: Uuid::from_u128(2),
            sequence: 1,
            tenant_position: 1,
            principal: Principal::ENGINE,
            command,
            index: 0,
            actor: Actor::Engine("a test".into()),
            correlation: None,
            occurred_at: Timestamp::default(),
            recorded_at: Timestamp::default(),
            event: (),
        };
        let mut reactions = Reactions::new(policy, &event);
        reactions.command(AcceptOrder { order: OrderId::new(event.stream) });
        reactions.effect(PrintLabel);
        reactions.effect(PrintLabel);
        reactions.into_requests()
    }

    #[test]
    fn ids_of_requests_depend_only_on_policy_event_and_step() {
        let (first, other) = (CommandId::new(Uuid::from_u128(7)), CommandId::new(Uuid::from_u128(8)));
        let ids = |policy, command| {
            let Requests { commands, effects, .. } = reactions(policy, command);
            let commands = commands.iter().map(|reaction| reaction.id.uuid());
            commands.chain(effects.iter().map(|effect| effect.id)).collect::<Vec<_>>()
        };
        assert_eq!(ids("ship", first), ids("ship", first));
        let mut all = [ids("ship", first), ids("ship", other), ids("charge", first)].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 9);
    }

    struct EventNames;

    impl Visitor for EventNames {
        fn command<C: Command>(&mut self) {}

        fn policy<P: Policy>(&mut self) {
            let schema = schemars::schema_for!(<P::Source as Aggregate>::Event);
            let known = schema.as_value()["oneOf"].as_array().cloned().unwrap_or_default();
            assert!(!P::EVENTS.is_empty(), "{} lists no events", P::ID);
            for event in P::EVENTS {
                let is_known = known.iter().any(|variant| variant["required"][0] == *event);
                assert!(is_known, "{} lists {event}, which is not an event of {}", P::ID, P::Source::TYPE);
            }
        }
    }

    #[test]
    fn every_policy_lists_events_that_exist() {
        crate::visit(&mut EventNames);
    }
}
