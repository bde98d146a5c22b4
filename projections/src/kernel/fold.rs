//! In-memory rows while a batch of events is folded into them.

use std::collections::{BTreeSet, HashMap};
use std::mem;

use domain::kernel::Unreadable;

use super::raw_event::RawEvent;
use super::sources::Source;
use super::{Place, ReadModel, Sources};

/// In-memory rows of one read model, independent of the row type.
///
/// Cycle: read events, supply the missing rows, fold, drain the changes. Rows stay in memory until
/// [`drain`](Fold::drain), so a rebuild can fold many batches before it writes any row.
pub trait Fold: Send {
    /// Restricts the fold to the rows at these places: events of other rows are decoded and dropped.
    fn restrict_to(&mut self, places: BTreeSet<Place>);

    /// Restricts the fold to all rows but those at these places.
    fn leave_out(&mut self, places: BTreeSet<Place>);

    /// Decodes an event and queues it for the rows it affects. On error it is queued for none of them.
    fn read(&mut self, event: &RawEvent) -> Result<(), Unreadable>;

    /// Places of rows that queued events need, that are not in memory and that may exist in the store. Later calls do
    /// not return them again.
    fn missing(&mut self) -> Vec<Place>;

    /// Supplies a missing row. `waiting` means that earlier events of its key are parked. The events of a row that cannot
    /// be read are parked too.
    fn supply(&mut self, place: &Place, row: Option<&str>, waiting: bool);

    /// Folds all queued events in order and returns those that had to be parked. A missing row that was not supplied
    /// counts as not existing.
    fn fold(&mut self) -> Vec<Parked>;

    /// Number of rows in memory.
    fn len(&self) -> usize;

    /// True if no rows are in memory.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all rows from memory and returns the changed ones: in the order of their places, or in event order for an
    /// append-only model. The last event of a row that cannot be serialized, for example because a personal field was
    /// not sealed, is parked.
    fn drain(&mut self) -> (Vec<Change>, Vec<Parked>);
}

/// New content of a changed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub place: Place,
    /// JSON text of the row; `None` if it was deleted.
    pub row: Option<String>,
}

/// An event set aside because it could not be folded, or because an earlier event of the same key was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub place: Place,
    pub lane: i16,
    pub position: i64,
    /// Message for operators.
    pub reason: String,
}

/// In-memory rows of one read model.
pub(super) struct FoldTable<R> {
    sources: Vec<Box<dyn Source<R>>>,
    places: HashMap<Place, usize>,
    slots: Vec<Slot<R>>,
    /// Indexes of slots whose rows may exist in the store and were not asked for yet.
    missing: Vec<usize>,
    queue: Vec<QueuedEvent>,
    restriction: Restriction,
}

/// Places whose rows are folded.
enum Restriction {
    None,
    Only(BTreeSet<Place>),
    Without(BTreeSet<Place>),
}

impl Restriction {
    fn permits(&self, place: &Place) -> bool {
        match self {
            Self::None => true,
            Self::Only(places) => places.contains(place),
            Self::Without(places) => !places.contains(place),
        }
    }
}

/// Current state of one row.
struct Slot<R> {
    place: Place,
    row: Option<R>,
    /// Lane and position of the last event that changed the row.
    changed: Option<(i16, i64)>,
    /// Reason for which all further events of this key are parked.
    waiting: Option<String>,
}

/// Reason for parking the events that follow a parked one of the same key.
const WAITS: &str = "an earlier event of this key is parked";

/// One event for one row.
struct QueuedEvent {
    source: usize,
    slot: usize,
    lane: i16,
    position: i64,
}

impl<R: ReadModel> FoldTable<R> {
    pub(super) fn new() -> Self {
        let (sources, places) = (Sources::<R>::collect(), HashMap::new());
        let restriction = Restriction::None;
        Self { sources, places, slots: Vec::new(), missing: Vec::new(), queue: Vec::new(), restriction }
    }

    /// Index of the slot for a place. `new` means that the store has no such row.
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
        self.slots.push(Slot { place, row: None, changed: None, waiting: None });
        slot
    }

    fn park(&self, event: &QueuedEvent, reason: String) -> Parked {
        let place = self.slots[event.slot].place.clone();
        Parked { place, lane: event.lane, position: event.position, reason }
    }
}

impl<R: ReadModel> Fold for FoldTable<R> {
    fn restrict_to(&mut self, places: BTreeSet<Place>) {
        self.restriction = Restriction::Only(places);
    }

    fn leave_out(&mut self, places: BTreeSet<Place>) {
        self.restriction = Restriction::Without(places);
    }

    fn read(&mut self, event: &RawEvent) -> Result<(), Unreadable> {
        let before = self.queue.len();
        for source in 0..self.sources.len() {
            if self.sources[source].stream_type() != &*event.stream_type {
                continue;
            }
            match self.sources[source].read(event) {
                Ok(None) => {}
                Ok(Some(key)) => {
                    let place = Place { tenant: event.tenant, key };
                    if !self.restriction.permits(&place) {
                        self.sources[source].drop_last();
                        continue;
                    }
                    // With two stream types, the row may have been made by an event of the other type.
                    let new = self.sources.len() == 1 && self.sources[source].begins_row(event);
                    let slot = self.slot(place, new);
                    self.queue.push(QueuedEvent { source, slot, lane: event.lane, position: event.position });
                }
                Err(unreadable) => {
                    let read = self.queue.split_off(before);
                    read.iter().for_each(|queued| self.sources[queued.source].drop_last());
                    return Err(unreadable);
                }
            }
        }
        Ok(())
    }

    fn missing(&mut self) -> Vec<Place> {
        mem::take(&mut self.missing).into_iter().map(|slot| self.slots[slot].place.clone()).collect()
    }

    fn supply(&mut self, place: &Place, row: Option<&str>, waiting: bool) {
        let Some(slot) = self.places.get(place).and_then(|slot| self.slots.get_mut(*slot)) else { return };
        slot.waiting = waiting.then(|| WAITS.to_owned());
        match row.map(serde_json::from_str).transpose() {
            Ok(row) => slot.row = row,
            Err(error) => slot.waiting = Some(format!("the stored row cannot be read: {error}")),
        }
    }

    fn fold(&mut self) -> Vec<Parked> {
        self.missing.clear();
        let mut parked = Vec::new();
        for queued in mem::take(&mut self.queue) {
            let (source, slot) = (&mut self.sources[queued.source], &mut self.slots[queued.slot]);
            if let Some(reason) = slot.waiting.clone() {
                source.drop_first();
                parked.push(self.park(&queued, reason));
                continue;
            }
            // The old row is kept until the fold succeeds: a failed fold changes nothing.
            match source.fold(slot.row.clone()) {
                Ok(row) => {
                    if row.is_some() || !R::APPENDS {
                        slot.changed = Some((queued.lane, queued.position));
                    }
                    slot.row = row;
                }
                Err(unfoldable) => {
                    slot.waiting = Some(WAITS.to_owned());
                    parked.push(self.park(&queued, unfoldable.to_string()));
                }
            }
        }
        parked
    }

    fn len(&self) -> usize {
        self.slots.len()
    }

    fn drain(&mut self) -> (Vec<Change>, Vec<Parked>) {
        self.places.clear();
        self.missing.clear();
        let mut slots = mem::take(&mut self.slots);
        if !R::APPENDS {
            slots.sort_unstable_by(|one, other| one.place.cmp(&other.place));
        }
        let (mut changes, mut parked) = (Vec::with_capacity(slots.len()), Vec::new());
        for Slot { place, row, changed, .. } in slots {
            let Some((lane, position)) = changed else { continue };
            match row.as_ref().map(serde_json::to_string).transpose() {
                Ok(row) => changes.push(Change { place, row }),
                Err(error) => {
                    let reason = format!("the row cannot be written: {error}");
                    parked.push(Parked { place, lane, position, reason });
                }
            }
        }
        (changes, parked)
    }
}
