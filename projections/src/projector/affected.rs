//! Places of the rows that events affect, for processes that missed row notices and must read the rows again.

use std::collections::BTreeSet;

use domain::kernel::Unreadable;

use crate::kernel::{Model, Place};
use crate::ports::RawEvent;

/// Places of all rows of a model that these events may have changed or deleted, computed without the store.
pub fn affected<'e>(
    model: &Model,
    events: impl IntoIterator<Item = &'e RawEvent>,
) -> Result<BTreeSet<Place>, Unreadable> {
    let mut fold = model.begin_fold();
    for event in events {
        fold.read(event)?;
    }
    // Without the stored rows the folded rows are wrong or missing; only their places are used.
    let parked = fold.fold();
    let changed = fold.drain()?;
    Ok(parked.into_iter().map(|parked| parked.place).chain(changed.into_iter().map(|change| change.place)).collect())
}
