//! Which rows events concern, for whoever missed how they changed.

use std::collections::BTreeSet;

use domain::kernel::Unreadable;

use crate::kernel::{Model, Place};
use crate::ports::RawEvent;

/// The places of a model's rows that these events may have changed, whatever stands there now.
pub fn touched<'e>(
    model: &Model,
    events: impl IntoIterator<Item = &'e RawEvent>,
) -> Result<BTreeSet<Place>, Unreadable> {
    let mut fold = model.begin();
    for event in events {
        fold.read(event)?;
    }
    // Folded onto nothing, rows come out wrong or not at all; only their places count.
    let parked = fold.fold();
    let changed = fold.drain()?;
    Ok(parked.into_iter().map(|parked| parked.place).chain(changed.into_iter().map(|change| change.place)).collect())
}
