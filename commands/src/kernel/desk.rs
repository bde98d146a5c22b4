//! The desk: the unit of work of one command. The command reads any streams of its tenant through it and decides on
//! several of them, all or nothing.
//!
//! If a stream is not in memory, `read` returns [`Refusal::Missing`]; the scribe loads it and runs the whole decision
//! again on a new desk.

use std::any::Any;
use std::borrow::Cow;

use domain::kernel::{Aggregate, Decision, Encoded, Fact, StreamId, Unreadable, encode, event_id};
use smallvec::SmallVec;
use uuid::Uuid;

use super::{Context, Misuse, Refusal, State, rejected};

/// Largest number of streams that one command may touch; a command that touches more is refused as misuse.
pub const STREAMS_MOST: usize = 420;

/// Number of streams that a list stores without a heap allocation; most commands touch no more.
const INLINE_STREAMS: usize = 4;

/// A short list of streams.
pub type Streams = SmallVec<[StreamRef; INLINE_STREAMS]>;

/// Key of a stream within its tenant.
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

/// Collects the streams that a command is known to need.
#[derive(Debug, Default)]
pub struct Hint {
    streams: Streams,
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

/// Look-up of the states of one tenant that are in memory.
pub trait StateLookup {
    /// The state of a stream, if it is in memory. A stream without events has a state too, once it was loaded.
    fn state(&self, stream: StreamRef) -> Option<&dyn State>;
}

/// Unit of work of one command. New events stay in drafts; states do not change until the whole command is accepted.
pub struct Desk<'a> {
    states: &'a dyn StateLookup,
    /// Streams requested so far.
    touched: Streams,
    /// Requested streams that are not in memory.
    missing: Vec<StreamRef>,
    drafts: Vec<Draft>,
}

impl<'a> Desk<'a> {
    pub fn new(states: &'a dyn StateLookup) -> Self {
        Self { states, touched: SmallVec::new(), missing: Vec::new(), drafts: Vec::new() }
    }

    /// Returns the state of a stream after all earlier commands and the drafts of this one; [`Refusal::Missing`] if the
    /// stream is not in memory.
    pub fn read<A: Aggregate>(&mut self, id: A::Id) -> Result<Cow<'a, A>, Refusal> {
        let stream = StreamRef::of::<A>(id);
        self.touch(stream)?;
        let Some(state) = self.states.state(stream).and_then(|state| state.as_any().downcast_ref::<A>()) else {
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

    /// Runs a verb on a stream and keeps its events as a draft.
    pub fn decide<A: Aggregate>(&mut self, id: A::Id, verb: impl FnOnce(&A) -> Decision<A>) -> Result<(), Refusal> {
        let state = self.read::<A>(id)?;
        let events = verb(&state).map_err(rejected)?;
        if !events.is_empty() {
            let stream = StreamRef::of::<A>(id);
            self.drafts.push(Draft { stream, is_fact: false, events: Box::new(EventsOf::<A>(events)) });
        }
        Ok(())
    }

    /// Appends a fact as a stream of its own. Its id is that of the event, so that no other command has it.
    pub fn append<F: Fact>(&mut self, context: &Context, fact: F::Event) {
        let index = i16::try_from(self.drafts.len()).unwrap_or(i16::MAX);
        let id = event_id(context.tenant, context.principal, context.command, index);
        let stream = StreamRef { stream_type: F::TYPE, id };
        self.drafts.push(Draft { stream, is_fact: true, events: Box::new(EventsOf::<F>(vec![fact])) });
    }

    /// Requests all these streams at once. If any is not in memory, returns [`Refusal::Missing`], and the scribe loads
    /// all missing ones together; without this call, every `read` of a missing stream would cost a run of its own.
    pub fn fetch(&mut self, streams: impl FnOnce(&mut Hint)) -> Result<(), Refusal> {
        let mut hint = Hint::default();
        streams(&mut hint);
        for stream in hint.streams {
            self.touch(stream)?;
            if self.states.state(stream).is_none() && !self.missing.contains(&stream) {
                self.missing.push(stream);
            }
        }
        if self.missing.is_empty() { Ok(()) } else { Err(Refusal::Missing) }
    }

    /// The streams that were requested so far.
    pub fn touched(&self) -> Streams {
        self.touched.clone()
    }

    /// The streams that were requested and are not in memory.
    pub fn into_missing(self) -> Vec<StreamRef> {
        self.missing
    }

    /// The drafts of all verbs that returned events, in the order of the calls.
    pub fn into_drafts(self) -> Vec<Draft> {
        self.drafts
    }

    fn touch(&mut self, stream: StreamRef) -> Result<(), Refusal> {
        if !self.touched.contains(&stream) {
            if self.touched.len() == STREAMS_MOST {
                let text = format!("a command may touch at most {STREAMS_MOST} streams");
                return Err(Refusal::Misuse(Misuse::new("TOO_MANY_STREAMS", "", text)));
            }
            self.touched.push(stream);
        }
        Ok(())
    }
}

/// New events of one stream, returned by one verb. The scribe applies and stores them if the command is accepted.
pub struct Draft {
    pub stream: StreamRef,
    /// True if the stream is new and has no state.
    pub is_fact: bool,
    events: Box<dyn Events>,
}

impl Draft {
    /// Folds the events into the state they were decided on.
    pub fn apply(&self, state: &mut dyn State) {
        self.events.apply(state.as_any_mut());
    }

    /// The events as the log stores them.
    pub fn encode(&self) -> Result<Vec<Encoded>, Unreadable> {
        self.events.encode()
    }
}

trait Events: Send {
    fn apply(&self, state: &mut dyn Any);
    fn encode(&self) -> Result<Vec<Encoded>, Unreadable>;
}

struct EventsOf<A: Aggregate>(Vec<A::Event>);

impl<A: Aggregate> Events for EventsOf<A> {
    fn apply(&self, state: &mut dyn Any) {
        if let Some(state) = state.downcast_mut::<A>() {
            self.0.iter().for_each(|event| state.apply(event));
        }
    }

    fn encode(&self) -> Result<Vec<Encoded>, Unreadable> {
        self.0.iter().map(encode).collect()
    }
}
