//! Given, when, then: how every rule of an aggregate is tested, with the laws that hold for all of them.

#[cfg(test)]
pub(crate) mod values;

use crate::kernel::{Aggregate, Decision, decode, encode};

/// Starts a test from history.
pub fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    for event in history {
        take(&mut state, &event);
    }
    Given { state }
}

/// A state to decide on.
pub struct Given<A> {
    state: A,
}

impl<A: Aggregate> Given<A> {
    /// Asks the state for a decision.
    pub fn when(self, verb: impl Fn(&A) -> Decision<A>) -> When<A> {
        let decision = verb(&self.state);
        let again = decision.as_ref().ok().map(|events| {
            let mut after = self.state.clone();
            events.iter().for_each(|event| take(&mut after, event));
            verb(&after)
        });
        When { state: self.state, decision, again }
    }

    /// The state itself, to go on with by hand.
    pub fn into_state(self) -> A {
        self.state
    }

    /// Looks at the state itself.
    #[track_caller]
    pub fn holds(self, question: impl Fn(&A) -> bool) {
        assert!(question(&self.state), "does not hold: {:?}", self.state);
    }
}

/// A decision to look at.
pub struct When<A: Aggregate> {
    state: A,
    decision: Decision<A>,
    again: Option<Decision<A>>,
}

impl<A: Aggregate> When<A> {
    /// Exactly these events were decided.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let expected: Vec<_> = events.into_iter().collect();
        assert_eq!(self.decision.as_ref().ok(), Some(&expected), "instead: {:?}", self.decision);
        let mut state = self.state;
        expected.iter().for_each(|event| take(&mut state, event));
        Given { state }
    }

    /// Exactly these events were decided, and asking again decides nothing more.
    #[track_caller]
    pub fn then_once(self, events: impl IntoIterator<Item = A::Event>) -> Given<A> {
        assert_eq!(self.again, Some(Ok(vec![])), "asking again changed something");
        self.then(events)
    }

    /// Nothing changes: it holds already.
    #[track_caller]
    pub fn then_nothing(self) {
        self.then([]);
    }

    /// The business says no, for this reason.
    #[track_caller]
    pub fn then_rejected(self, reason: A::Rejection) {
        assert_eq!(self.decision.as_ref().err(), Some(&reason), "instead: {:?}", self.decision);
        let named = encode(&reason).expect("a rejection is an enum");
        let capitals = named.name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        assert!(capitals, "`{}` is no stable code", named.name);
    }
}

/// Applies an event as the log would give it back, and checks the laws of every aggregate on the way.
#[track_caller]
fn take<A: Aggregate>(state: &mut A, event: &A::Event) {
    let named = encode(event).expect("an event is an enum");
    assert!(named.name.contains('.') && !named.name.contains(char::is_uppercase), "`{}` is no event name", named.name);
    assert!(named.body.starts_with('{'), "`{}` has no named fields", named.name);
    let read: A::Event = decode(&named.name, &named.body).expect("a written event reads");
    assert_eq!(&read, event, "an event changed on its way through the log");
    state.apply(event);
    let stored = serde_json::to_string(state).expect("a state is JSON");
    let restored: A = serde_json::from_str(&stored).expect("a snapshot reads");
    assert_eq!(format!("{restored:?}"), format!("{state:?}"), "a state changed on its way through a snapshot");
}
