//! Given-when-then tests of an aggregate. Every step also checks that names are well formed, that events survive
//! encoding, and that the state survives a snapshot.

#[cfg(test)]
pub(crate) mod values;

use crate::kernel::{Aggregate, Decision, decode, encode};

/// Starts a test from past events.
pub fn given<A: Aggregate>(history: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::default();
    for event in history {
        apply_checked(&mut state, &event);
    }
    Given { state }
}

/// State of the aggregate, on which the next verb decides.
pub struct Given<A> {
    state: A,
}

impl<A: Aggregate> Given<A> {
    /// Calls a verb, and calls it once more on the state that its own events lead to (see [`When::then_once`]).
    pub fn when(self, verb: impl Fn(&A) -> Decision<A>) -> When<A> {
        let decision = verb(&self.state);
        let again = decision.as_ref().ok().map(|events| {
            let mut after = self.state.clone();
            events.iter().for_each(|event| apply_checked(&mut after, event));
            verb(&after)
        });
        When { state: self.state, decision, again }
    }

    /// Returns the state.
    pub fn into_state(self) -> A {
        self.state
    }

    /// Asserts a condition on the state.
    #[track_caller]
    pub fn holds(self, condition: impl Fn(&A) -> bool) {
        assert!(condition(&self.state), "the condition is false for {:?}", self.state);
    }
}

/// Decision of a verb, to be asserted.
pub struct When<A: Aggregate> {
    state: A,
    decision: Decision<A>,
    again: Option<Decision<A>>,
}

impl<A: Aggregate> When<A> {
    /// Asserts that exactly these events were decided.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let expected: Vec<_> = events.into_iter().collect();
        assert_eq!(self.decision.as_ref().ok(), Some(&expected), "the decision was {:?}", self.decision);
        let mut state = self.state;
        expected.iter().for_each(|event| apply_checked(&mut state, event));
        Given { state }
    }

    /// Asserts that exactly these events were decided, and that repeating the verb decides no further event.
    #[track_caller]
    pub fn then_once(self, events: impl IntoIterator<Item = A::Event>) -> Given<A> {
        assert_eq!(self.again, Some(Ok(vec![])), "the repeated verb decided something else than no events");
        self.then(events)
    }

    /// Asserts that no events were decided.
    #[track_caller]
    pub fn then_nothing(self) {
        self.then([]);
    }

    /// Asserts a rejection, and that its name is a stable code in capitals.
    #[track_caller]
    pub fn then_rejected(self, reason: A::Rejection) {
        assert_eq!(self.decision.as_ref().err(), Some(&reason), "the decision was {:?}", self.decision);
        let encoded = encode(&reason).expect("a rejection is an enum");
        let capitals = encoded.name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        assert!(capitals, "`{}` is not a code in capitals", encoded.name);
    }
}

/// Applies an event, and checks that the event survives the log and the state survives a snapshot.
#[track_caller]
fn apply_checked<A: Aggregate>(state: &mut A, event: &A::Event) {
    let encoded = encode(event).expect("an event is an enum");
    assert!(
        encoded.name.contains('.') && !encoded.name.contains(char::is_uppercase),
        "`{}` is not a dotted lower-case event name",
        encoded.name
    );
    assert!(encoded.body.starts_with('{'), "`{}` has no named fields", encoded.name);
    let decoded: A::Event = decode(&encoded.name, &encoded.body).expect("an encoded event decodes");
    assert_eq!(&decoded, event, "the event changed by encoding and decoding");
    state.apply(event);
    let stored = serde_json::to_string(state).expect("a state is JSON");
    let restored: A = serde_json::from_str(&stored).expect("a snapshot decodes");
    assert_eq!(format!("{restored:?}"), format!("{state:?}"), "the state changed by storing it as a snapshot");
}
