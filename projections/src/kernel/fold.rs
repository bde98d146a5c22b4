//! Rows in memory while a batch of events is folded into them.

use std::collections::HashMap;
use std::mem;

use domain::kernel::Unreadable;

use super::sources::Source;
use super::{Place, ReadModel, Sources};
use crate::ports::RawEvent;

/// The rows of one read model in memory, their type forgotten.
///
/// Read events, supply the rows they miss, fold, take the changes; then again. Rows stay until they are taken with
/// [`drain`](Fold::drain), so that a rebuild folds long stretches of history without a store.
pub trait Fold: Send {
    /// Decodes an event and notes which rows it concerns. On error nothing of the event stays behind.
    fn read(&mut self, event: &RawEvent) -> Result<(), Unreadable>;

    /// The rows that were asked for and are not in memory; each is named once.
    fn missing(&mut self) -> Vec<Place>;

    /// Gives a missing row. `waiting` says that earlier events of its key are parked.
    fn supply(&mut self, place: &Place, row: Option<&str>, waiting: bool) -> Result<(), Unreadable>;

    /// Folds everything that was read, in order, and names what had to be parked. Rows that were asked for and not
    /// supplied do not exist.
    fn fold(&mut self) -> Vec<Parked>;

    /// How many rows are in memory.
    fn len(&self) -> usize;

    /// Whether no rows are in memory.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes all rows out of memory and names those that changed: in the order of their places, or in that of their
    /// events where every event makes a row of its own.
    ///
    /// Fails where a row cannot be written, such as one with a personal field that nobody sealed.
    fn drain(&mut self) -> Result<Vec<Change>, Unreadable>;
}

/// A row that is no longer what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub place: Place,
    /// The row as JSON text; nothing where it went away.
    pub row: Option<String>,
}

/// An event that waits until its model can take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub place: Place,
    pub lane: i16,
    pub position: i64,
    /// A sentence for operators.
    pub reason: String,
}

/// The rows of one read model in memory.
pub(super) struct Table<R> {
    sources: Vec<Box<dyn Source<R>>>,
    places: HashMap<Place, usize>,
    slots: Vec<Slot<R>>,
    /// The slots whose rows may be in the store.
    missing: Vec<usize>,
    queue: Vec<Step>,
}

/// One row, as far as it has come.
struct Slot<R> {
    place: Place,
    row: Option<R>,
    changed: bool,
    waiting: bool,
}

/// One event that concerns one row.
struct Step {
    source: usize,
    slot: usize,
    lane: i16,
    position: i64,
}

impl<R: ReadModel> Table<R> {
    pub(super) fn new() -> Self {
        let (sources, places) = (Sources::<R>::collect(), HashMap::new());
        Self { sources, places, slots: Vec::new(), missing: Vec::new(), queue: Vec::new() }
    }

    /// Where the row at a place is kept. `new` says that the store has no such row.
    fn slot(&mut self, place: Place, new: bool) -> usize {
        let slot = self.slots.len();
        if !R::APPENDS {
            if let Some(known) = self.places.get(&place) {
                return *known;
            }
            self.places.insert(place.clone(), slot);
            if !new {
                self.missing.push(slot);
            }
        }
        self.slots.push(Slot { place, row: None, changed: false, waiting: false });
        slot
    }

    fn park(&self, step: &Step, reason: String) -> Parked {
        let place = self.slots[step.slot].place.clone();
        Parked { place, lane: step.lane, position: step.position, reason }
    }
}

impl<R: ReadModel> Fold for Table<R> {
    fn read(&mut self, event: &RawEvent) -> Result<(), Unreadable> {
        let before = self.queue.len();
        for source in 0..self.sources.len() {
            if self.sources[source].stream_type() != &*event.stream_type {
                continue;
            }
            match self.sources[source].read(event) {
                Ok(None) => {}
                Ok(Some(key)) => {
                    // With two kinds of streams, the other one may have made the row.
                    let new = self.sources.len() == 1 && self.sources[source].begins_row(event);
                    let slot = self.slot(Place { tenant: event.tenant, key }, new);
                    self.queue.push(Step { source, slot, lane: event.lane, position: event.position });
                }
                Err(unreadable) => {
                    let read = self.queue.split_off(before);
                    read.iter().for_each(|step| self.sources[step.source].unread());
                    return Err(unreadable);
                }
            }
        }
        Ok(())
    }

    fn missing(&mut self) -> Vec<Place> {
        mem::take(&mut self.missing).into_iter().map(|slot| self.slots[slot].place.clone()).collect()
    }

    fn supply(&mut self, place: &Place, row: Option<&str>, waiting: bool) -> Result<(), Unreadable> {
        let Some(slot) = self.places.get(place).and_then(|slot| self.slots.get_mut(*slot)) else { return Ok(()) };
        slot.row = row.map(serde_json::from_str).transpose().map_err(unreadable::<R>)?;
        slot.waiting = waiting;
        Ok(())
    }

    fn fold(&mut self) -> Vec<Parked> {
        self.missing.clear();
        let mut parked = Vec::new();
        for step in mem::take(&mut self.queue) {
            let (source, slot) = (&mut self.sources[step.source], &mut self.slots[step.slot]);
            if slot.waiting {
                source.skip();
                parked.push(self.park(&step, "it waits behind an earlier event of its key".into()));
                continue;
            }
            // The row is kept until the fold has succeeded: what fails changes nothing.
            match source.fold(slot.row.clone()) {
                Ok(row) => {
                    slot.changed |= row.is_some() || !R::APPENDS;
                    slot.row = row;
                }
                Err(unfoldable) => {
                    slot.waiting = true;
                    parked.push(self.park(&step, unfoldable.to_string()));
                }
            }
        }
        parked
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn drain(&mut self) -> Result<Vec<Change>, Unreadable> {
        self.places.clear();
        self.missing.clear();
        let mut changed = mem::take(&mut self.slots);
        changed.retain(|slot| slot.changed);
        if !R::APPENDS {
            changed.sort_unstable_by(|one, other| one.place.cmp(&other.place));
        }
        let change = |slot: Slot<R>| {
            let row = slot.row.as_ref().map(serde_json::to_string).transpose().map_err(unreadable::<R>)?;
            Ok(Change { place: slot.place, row })
        };
        changed.into_iter().map(change).collect()
    }
}

fn unreadable<R: ReadModel>(error: serde_json::Error) -> Unreadable {
    Unreadable { name: R::schema_name().into(), reason: error.to_string() }
}
