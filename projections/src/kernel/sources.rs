//! Event sources of a read model.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use domain::kernel::{Aggregate, Recorded, Unreadable};

use super::raw_event::RawEvent;
use super::{Key, ReadModel};
use crate::key;

/// Row after an event; `None` deletes it.
pub type Folded<R> = Result<Option<R>, Unfoldable>;

/// Reason why an event cannot be folded, as a message for operators. The event is parked, and so are later events of
/// its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfoldable(String);

impl Unfoldable {
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The row that this event changes does not exist.
    pub fn no_row() -> Self {
        Self::because("there is no row for this event to change")
    }

    /// A number would overflow.
    pub fn overflow(field: &str) -> Self {
        Self::because(format!("`{field}` would leave the range of 64 bits"))
    }
}

/// Adds to a figure of a row. `field` names it in the error.
pub fn add(sum: &mut i64, amount: i64, field: &str) -> Result<(), Unfoldable> {
    *sum = sum.checked_add(amount).ok_or_else(|| Unfoldable::overflow(field))?;
    Ok(())
}

/// Collects the stream types a read model listens to.
pub struct Sources<R> {
    sources: Vec<Box<dyn Source<R>>>,
}

impl<R: ReadModel> Sources<R> {
    /// Listens to one stream type.
    ///
    /// `key` returns the key of the row that an event affects, if any; `fold` returns the new row. Both are pure and
    /// see one event only; the event must contain every key they need.
    pub fn stream<A: Aggregate>(
        &mut self,
        key: fn(&Recorded<A::Event>) -> Option<Key>,
        fold: fn(Option<R>, &Recorded<A::Event>) -> Folded<R>,
    ) -> &mut Self {
        self.sources.push(Box::new(StreamSource::<R, A> { key, fold, row_per_stream: false, buffer: VecDeque::new() }));
        self
    }

    /// Listens to one stream type and keeps one row per stream, with the stream id as key.
    ///
    /// The first event of a stream is folded without loading a row, because none can exist.
    pub fn row_per_stream<A: Aggregate>(&mut self, fold: fn(Option<R>, &Recorded<A::Event>) -> Folded<R>) -> &mut Self {
        let key = |event: &Recorded<A::Event>| Some(key![event.stream]);
        self.sources.push(Box::new(StreamSource::<R, A> { key, fold, row_per_stream: true, buffer: VecDeque::new() }));
        self
    }

    pub(super) fn collect() -> Vec<Box<dyn Source<R>>> {
        let mut from = Self { sources: Vec::new() };
        R::sources(&mut from);
        from.sources
    }
}

/// Object-safe form of `StreamSource`. Buffers decoded events until they are folded or dropped.
pub(super) trait Source<R>: Send {
    fn stream_type(&self) -> &'static str;
    /// Decodes an event and buffers it if it affects a row.
    fn read(&mut self, event: &RawEvent) -> Result<Option<Key>, Unreadable>;
    /// True if no earlier event of this stream type can have made the row.
    fn begins_row(&self, event: &RawEvent) -> bool;
    /// Drops the last buffered event.
    fn drop_last(&mut self);
    /// Folds the first buffered event into the row and drops the event, even if folding fails.
    fn fold(&mut self, row: Option<R>) -> Folded<R>;
    /// Drops the first buffered event without folding it.
    fn drop_first(&mut self);
}

struct StreamSource<R, A: Aggregate> {
    key: fn(&Recorded<A::Event>) -> Option<Key>,
    fold: fn(Option<R>, &Recorded<A::Event>) -> Folded<R>,
    /// True if the key is the stream id.
    row_per_stream: bool,
    buffer: VecDeque<Arc<Recorded<A::Event>>>,
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
        let panicked =
            |_| Err(Unreadable { name: event.kind.to_string(), reason: "decoding this event panicked".into() });
        let affected = catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(panicked)?;
        Ok(affected.map(|(key, event)| {
            self.buffer.push_back(event);
            key
        }))
    }

    fn begins_row(&self, event: &RawEvent) -> bool {
        self.row_per_stream && event.sequence == 1
    }

    fn drop_last(&mut self) {
        self.buffer.pop_back();
    }

    fn fold(&mut self, row: Option<R>) -> Folded<R> {
        let event = self.buffer.pop_front().expect("the fold table queues one entry for each buffered event");
        catch_unwind(AssertUnwindSafe(|| (self.fold)(row, &event)))
            .unwrap_or_else(|_| Err(Unfoldable::because("the fold panicked on this event")))
    }

    fn drop_first(&mut self) {
        self.buffer.pop_front();
    }
}
