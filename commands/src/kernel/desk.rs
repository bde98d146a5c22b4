//! The desk: where a command reads any stream of its tenant and decides on as many as it needs, all or nothing.

use std::any::Any;
use std::borrow::Cow;

use domain::kernel::{Aggregate, Decision, Named, StreamId, Unreadable, encode};
use smallvec::SmallVec;
use uuid::Uuid;

use super::{Misuse, Refusal, State, rejected};

/// A command that needs more streams than this is misuse: it should be several commands.
pub const STREAMS_MOST: usize = 256;

/// Most commands name no more streams than this; so many are kept in place.
const FEW: usize = 4;

/// One stream within a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamRef {
    pub stream_type: &'static str,
    pub id: Uuid,
}

impl StreamRef {
    pub fn of<A: Aggregate>(id: A::Id) -> Self {
        Self { stream_type: A::TYPE, id: id.uuid() }
    }
}

/// Collects the streams a command is known to need.
#[derive(Debug, Default)]
pub struct Hint {
    streams: SmallVec<[StreamRef; FEW]>,
}

impl Hint {
    pub fn stream<A: Aggregate>(&mut self, id: A::Id) -> &mut Self {
        self.streams.push(StreamRef::of::<A>(id));
        self
    }

    pub fn into_streams(self) -> impl Iterator<Item = StreamRef> {
        self.streams.into_iter()
    }
}

/// Where the desk finds the states of one tenant.
pub trait Shelf {
    /// The state of a stream, if it is in memory; a stream without events has a state too.
    fn state(&self, stream: StreamRef) -> Option<&dyn State>;
}

/// What a command decides on. States stay as they are until the whole command is accepted.
pub struct Desk<'a> {
    shelf: &'a dyn Shelf,
    seen: SmallVec<[StreamRef; FEW]>,
    missing: Vec<StreamRef>,
    drafts: Vec<Draft>,
}

impl<'a> Desk<'a> {
    pub fn new(shelf: &'a dyn Shelf) -> Self {
        Self { shelf, seen: SmallVec::new(), missing: Vec::new(), drafts: Vec::new() }
    }

    /// Any stream of the tenant, exactly as all commands before this one left it.
    pub fn read<A: Aggregate>(&mut self, id: A::Id) -> Result<Cow<'a, A>, Refusal> {
        let stream = StreamRef::of::<A>(id);
        self.note(stream)?;
        let Some(state) = self.shelf.state(stream).and_then(|state| state.as_any().downcast_ref::<A>()) else {
            self.missing.push(stream);
            return Err(Refusal::Missing);
        };
        let mut drafts = self.drafts.iter().filter(|draft| draft.stream == stream).peekable();
        if drafts.peek().is_none() {
            return Ok(Cow::Borrowed(state));
        }
        let mut changed = state.clone();
        drafts.for_each(|draft| draft.events.apply(&mut changed));
        Ok(Cow::Owned(changed))
    }

    /// Asks one aggregate for its decision and keeps what it decides, should the whole command be accepted.
    pub fn decide<A: Aggregate>(&mut self, id: A::Id, verb: impl FnOnce(&A) -> Decision<A>) -> Result<(), Refusal> {
        let state = self.read::<A>(id)?;
        let events = verb(&state).map_err(rejected)?;
        if !events.is_empty() {
            let stream = StreamRef::of::<A>(id);
            self.drafts.push(Draft { stream, events: Box::new(EventsOf::<A>(events)) });
        }
        Ok(())
    }

    /// Makes sure that all these streams are at hand, fetching those that are not in one go.
    pub fn fetch(&mut self, want: impl FnOnce(&mut Hint)) -> Result<(), Refusal> {
        let mut hint = Hint::default();
        want(&mut hint);
        for stream in hint.streams {
            self.note(stream)?;
            if self.shelf.state(stream).is_none() && !self.missing.contains(&stream) {
                self.missing.push(stream);
            }
        }
        if self.missing.is_empty() { Ok(()) } else { Err(Refusal::Missing) }
    }

    /// The streams that were asked for and are not in memory.
    pub fn into_missing(self) -> Vec<StreamRef> {
        self.missing
    }

    /// What was decided, in order.
    pub fn into_drafts(self) -> Vec<Draft> {
        self.drafts
    }

    fn note(&mut self, stream: StreamRef) -> Result<(), Refusal> {
        if !self.seen.contains(&stream) {
            if self.seen.len() == STREAMS_MOST {
                let text = format!("a command may touch at most {STREAMS_MOST} streams");
                return Err(Refusal::Misuse(Misuse::new("TOO_MANY_STREAMS", "", text)));
            }
            self.seen.push(stream);
        }
        Ok(())
    }
}

/// Events of one stream that hold once their command is accepted.
pub struct Draft {
    pub stream: StreamRef,
    events: Box<dyn Events>,
}

impl Draft {
    /// Takes the events into the state they were decided on.
    pub fn apply(&self, state: &mut dyn State) {
        self.events.apply(state.as_any_mut());
    }

    /// The events as the log keeps them.
    pub fn encode(&self) -> Result<Vec<Named>, Unreadable> {
        self.events.encode()
    }
}

trait Events: Send {
    fn apply(&self, state: &mut dyn Any);
    fn encode(&self) -> Result<Vec<Named>, Unreadable>;
}

struct EventsOf<A: Aggregate>(Vec<A::Event>);

impl<A: Aggregate> Events for EventsOf<A> {
    fn apply(&self, state: &mut dyn Any) {
        if let Some(state) = state.downcast_mut::<A>() {
            self.0.iter().for_each(|event| state.apply(event));
        }
    }

    fn encode(&self) -> Result<Vec<Named>, Unreadable> {
        self.0.iter().map(encode).collect()
    }
}
