//! From where a read model learns, and how.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use domain::kernel::{Aggregate, Recorded, Unreadable};

use super::{Key, ReadModel};
use crate::key;
use crate::ports::RawEvent;

/// The row after an event; nothing where the row goes away.
pub type Folded<R> = Result<Option<R>, Unfoldable>;

/// Why a row cannot take an event: a sentence for operators. The event is parked, and later ones of its key wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfoldable(String);

impl Unfoldable {
    pub fn because(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// There is no row yet that this event could change.
    pub fn no_row() -> Self {
        Self::because("there is no row for this event to change")
    }

    /// A number would leave its range.
    pub fn overflow(field: &str) -> Self {
        Self::because(format!("`{field}` would leave the range of 64 bits"))
    }
}

/// Collects the streams a read model listens to.
pub struct Sources<R> {
    sources: Vec<Box<dyn Source<R>>>,
}

impl<R: ReadModel> Sources<R> {
    /// Listens to one kind of stream.
    ///
    /// `key` says which row an event concerns, if any; `fold` says what becomes of that row. Both are pure and see
    /// one event at a time, so an event must carry its keys.
    pub fn stream<A: Aggregate>(
        &mut self,
        key: fn(&Recorded<A::Event>) -> Option<Key>,
        fold: fn(Option<R>, &Recorded<A::Event>) -> Folded<R>,
    ) -> &mut Self {
        self.sources.push(Box::new(StreamSource::<R, A> { key, fold, begins_row: false, waiting: VecDeque::new() }));
        self
    }

    /// Listens to one kind of stream, of which each is one row with the stream's id as its key.
    ///
    /// The first event of a stream then meets no row, so none is looked for.
    pub fn row_per_stream<A: Aggregate>(&mut self, fold: fn(Option<R>, &Recorded<A::Event>) -> Folded<R>) -> &mut Self {
        let key = |event: &Recorded<A::Event>| Some(key![event.stream]);
        self.sources.push(Box::new(StreamSource::<R, A> { key, fold, begins_row: true, waiting: VecDeque::new() }));
        self
    }

    pub(super) fn collect() -> Vec<Box<dyn Source<R>>> {
        let mut from = Self { sources: Vec::new() };
        R::sources(&mut from);
        from.sources
    }
}

/// One kind of stream, the type of its events forgotten. Decoded events wait inside until they are folded.
pub(super) trait Source<R>: Send {
    fn stream_type(&self) -> &'static str;
    /// Decodes an event; it waits if it concerns a row.
    fn read(&mut self, event: &RawEvent) -> Result<Option<Key>, Unreadable>;
    /// Whether no earlier event of this kind of stream can have made the row.
    fn begins_row(&self, event: &RawEvent) -> bool;
    /// Forgets the event that was read last.
    fn unread(&mut self);
    /// Takes the first waiting event out; it is lost on the row unless it is folded.
    fn fold(&mut self, row: Option<R>) -> Folded<R>;
    /// Takes the first waiting event out without folding it.
    fn skip(&mut self);
}

struct StreamSource<R, A: Aggregate> {
    key: fn(&Recorded<A::Event>) -> Option<Key>,
    fold: fn(Option<R>, &Recorded<A::Event>) -> Folded<R>,
    /// Whether the first event of a stream makes the row.
    begins_row: bool,
    waiting: VecDeque<Arc<Recorded<A::Event>>>,
}

impl<R: ReadModel, A: Aggregate> Source<R> for StreamSource<R, A> {
    fn stream_type(&self) -> &'static str {
        A::TYPE
    }

    fn read(&mut self, event: &RawEvent) -> Result<Option<Key>, Unreadable> {
        let read = || {
            let event = event.read::<A>()?;
            Ok((self.key)(&event).map(|key| (key, event)))
        };
        let panicked = |_| Err(Unreadable { name: event.kind.to_string(), reason: "reading it panicked".into() });
        let found = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(panicked)?;
        Ok(found.map(|(key, event)| {
            self.waiting.push_back(event);
            key
        }))
    }

    fn begins_row(&self, event: &RawEvent) -> bool {
        self.begins_row && event.sequence == 1
    }

    fn unread(&mut self) {
        self.waiting.pop_back();
    }

    fn fold(&mut self, row: Option<R>) -> Folded<R> {
        let event = self.waiting.pop_front().expect("an event waits for each step of the queue");
        catch_unwind(AssertUnwindSafe(|| (self.fold)(row, &event)))
            .unwrap_or_else(|_| Err(Unfoldable::because("folding it panicked")))
    }

    fn skip(&mut self) {
        self.waiting.pop_front();
    }
}
