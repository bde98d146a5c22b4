//! Places of the rows that events affect, for processes that missed row notices and must read the rows again.

use std::collections::BTreeSet;

use crate::kernel::{Model, Place};
use crate::ports::RawEvent;

/// Places of all rows of a model that these events may have changed or deleted, computed without the store. An event that
/// cannot be decoded has changed none: its stream is parked.
pub fn affected<'e>(model: &Model, events: impl IntoIterator<Item = &'e RawEvent>) -> BTreeSet<Place> {
    let mut fold = model.begin_fold();
    for event in events {
        fold.read(event).ok();
    }
    // Without the stored rows the folded rows are wrong or missing; only their places are used.
    let folded = fold.fold();
    let (changed, unwritable) = fold.drain();
    let parked = folded.into_iter().chain(unwritable);
    parked.map(|parked| parked.place).chain(changed.into_iter().map(|change| change.place)).collect()
}
