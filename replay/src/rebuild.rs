//! Rebuild of a read model from the log: fills a new table beside the live one, then switches.
//!
//! The target, the end of every lane, is read first. A rebuild that cannot fold every event up to the target fails:
//! positions must be dense, epochs must match, and an empty page before the target is an error. Rows are folded in
//! memory up to the budget, because writing each change would be the slowest part.

use std::collections::HashSet;
use std::future::Future;

use domain::kernel::Unreadable;
use futures::future::join;
use projections::kernel::{Change, Fold, Model, Parked, Place};
use projections::ports::{Checkpoint, Epochs, Fault, History, LoadedRow, RawEvent};

/// Port that writes the tables of a rebuild.
pub trait TableBuilder: Send + Sync {
    /// Creates an empty table for a model beside the live one. Drops a table left by an earlier build.
    fn begin(&self, model: &Model) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Loads rows of the new table at these places, in the same order.
    fn load(&self, model: &Model, places: &[Place]) -> impl Future<Output = Result<Vec<LoadedRow>, Fault>> + Send;

    /// Writes and deletes rows of the new table. `first` means that the table is still empty.
    fn fill(&self, model: &Model, changes: &[Change], first: bool) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Makes the new table live, sets its checkpoints and stores its parked events, in one transaction.
    fn switch(
        &self,
        model: &Model,
        at: &[Checkpoint],
        parked: &[Parked],
    ) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Limits of the memory that a rebuild uses.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Number of rows in memory at which they are written; checked after each page.
    pub rows_most: usize,
    /// Number of events per read.
    pub page: usize,
}

impl Default for Budget {
    /// About 100 MB for rows of 500 bytes; pages of a few megabytes.
    fn default() -> Self {
        Self { rows_most: 200_000, page: 10_000 }
    }
}

/// Summary of a finished rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildSummary {
    pub events: u64,
    /// Number of row writes; a row that is written twice counts twice.
    pub rows: u64,
    pub parked: Vec<Parked>,
    /// Checkpoints of the new table, one per lane.
    pub at: Vec<Checkpoint>,
}

/// Error of a rebuild. The switch is one transaction, so the live table is never half rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log lacks the event after position `at`. `target` is the position that was expected to be reached:
    /// the end of the lane or, if there is a gap, the position of the event after it.
    #[error("lane {lane} ends after position {at}, before the target {target}")]
    Incomplete { lane: i16, at: i64, target: i64 },
    /// An event was written in an epoch that a later one replaced at this position, so it is not part of the present
    /// history.
    #[error("lane {lane}, position {position}: epoch {epoch} is not the current epoch of this position")]
    OtherHistory { lane: i16, position: i64, epoch: i64 },
    /// An event cannot be decoded.
    #[error("lane {lane}, position {position}, stream {stream_type}: {unreadable}")]
    Unreadable { lane: i16, position: i64, stream_type: String, unreadable: Unreadable },
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Rebuilds one read model up to the end that the log has now, and switches to the new table.
pub async fn rebuild(
    model: &Model,
    history: &impl History,
    tables: &impl TableBuilder,
    budget: Budget,
) -> Result<RebuildSummary, RebuildError> {
    let targets = history.heads().await?;
    tables.begin(model).await?;
    let mut rebuild = Rebuild {
        model,
        tables,
        budget,
        fold: model.begin_fold(),
        has_written: false,
        parked_places: HashSet::new(),
        summary: RebuildSummary { events: 0, rows: 0, parked: Vec::new(), at: targets.clone() },
    };
    for target in targets {
        rebuild.fold_lane(history, target).await?;
    }
    rebuild.flush().await?;
    tables.switch(model, &rebuild.summary.at, &rebuild.summary.parked).await?;
    tracing::info!(
        model = model.name,
        events = rebuild.summary.events,
        rows = rebuild.summary.rows,
        "read model rebuilt"
    );
    Ok(rebuild.summary)
}

/// State of a running rebuild.
struct Rebuild<'b, B> {
    model: &'b Model,
    tables: &'b B,
    budget: Budget,
    fold: Box<dyn Fold>,
    /// True once rows were written. From then on, a row that is not in memory may exist in the new table.
    has_written: bool,
    /// Places with parked events.
    parked_places: HashSet<Place>,
    summary: RebuildSummary,
}

impl<B: TableBuilder> Rebuild<'_, B> {
    async fn fold_lane(&mut self, history: &impl History, target: Checkpoint) -> Result<(), RebuildError> {
        let (lane, most) = (target.lane, self.budget.page);
        let epochs = history.epochs(lane).await?;
        let mut at = Checkpoint::start(lane);
        let mut page = history.events(lane, 0, most).await?;
        while at.position < target.position {
            page.retain(|event| event.position <= target.position);
            let Some(last) = page.last() else {
                return Err(RebuildError::Incomplete { lane, at: at.position, target: target.position });
            };
            // The next page is read while this one is folded.
            let (next, folded) =
                join(history.events(lane, last.position, most), self.fold_page(&mut at, &page, &epochs)).await;
            folded?;
            page = next?;
        }
        Ok(())
    }

    async fn fold_page(&mut self, at: &mut Checkpoint, page: &[RawEvent], epochs: &Epochs) -> Result<(), RebuildError> {
        for event in page {
            self.read(at, event, epochs)?;
        }
        self.summary.events += page.len() as u64;
        if self.has_written {
            self.load_missing().await?;
        }
        let parked = self.fold.fold();
        self.parked_places.extend(parked.iter().map(|parked| parked.place.clone()));
        self.summary.parked.extend(parked);
        if self.fold.len() >= self.budget.rows_most { self.flush().await } else { Ok(()) }
    }

    /// Queues one event, after checking that it is the next of its lane and belongs to the current history.
    fn read(&mut self, at: &mut Checkpoint, event: &RawEvent, epochs: &Epochs) -> Result<(), RebuildError> {
        let (lane, position, epoch) = (event.lane, event.position, event.epoch);
        if position != at.position + 1 {
            return Err(RebuildError::Incomplete { lane, at: at.position, target: position });
        }
        if epoch != at.epoch && !epochs.agrees(position, epoch) {
            return Err(RebuildError::OtherHistory { lane, position, epoch });
        }
        let stream_type = || event.stream_type.to_string();
        self.fold.read(event).map_err(|unreadable| RebuildError::Unreadable {
            lane,
            position,
            stream_type: stream_type(),
            unreadable,
        })?;
        *at = Checkpoint { lane, position, epoch };
        Ok(())
    }

    /// Loads those rows of the queued events that an earlier flush has removed from memory.
    async fn load_missing(&mut self) -> Result<(), RebuildError> {
        let places = self.fold.missing();
        if places.is_empty() {
            return Ok(());
        }
        let loaded = self.tables.load(self.model, &places).await?;
        for (place, stored) in places.iter().zip(&loaded) {
            let waiting = self.parked_places.contains(place);
            self.fold.supply(place, stored.row.as_deref(), waiting);
        }
        Ok(())
    }

    /// Writes the rows in memory to the table and removes them from memory.
    async fn flush(&mut self) -> Result<(), RebuildError> {
        let (changes, parked) = self.fold.drain();
        self.parked_places.extend(parked.iter().map(|parked| parked.place.clone()));
        self.summary.parked.extend(parked);
        self.tables.fill(self.model, &changes, !self.has_written).await?;
        self.has_written = true;
        self.summary.rows += changes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
