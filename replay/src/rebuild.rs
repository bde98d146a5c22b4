//! Rebuild of read models from the log: fills new tables beside the served ones in one scan of the history, then switches.
//!
//! The scan reads the events of the stream types that the models listen to, up to the ends of the lanes. It fails if the
//! log lacks a position or if an event belongs to a lost history. An event that cannot be decoded parks its stream, and one
//! that cannot be folded parks its key, in the models concerned only.
//!
//! Rows are folded in memory up to the budget, because writing each change would be the slowest part. A write stores rows,
//! parked events and checkpoints of one table in one transaction, so that an interrupted build can be resumed.

mod build;
mod scan;

use std::collections::BTreeSet;
use std::future::Future;

use projections::kernel::{Change, Model, Parked, Place};
use projections::ports::{Checkpoint, Fault, HistoryScan, LoadedRow, ParkedStream, StreamPlace};
use scan::Scan;

/// Port that writes the tables of a rebuild.
pub trait TableBuilder: Send + Sync {
    /// Creates an empty table for a model beside the served one. With `resume`, a table that an earlier build has left
    /// unfinished is kept, and its state returned.
    fn begin(&self, model: &Model, resume: bool) -> impl Future<Output = Result<BuildState, Fault>> + Send;

    /// Loads rows of the new table at these places, in the same order.
    fn load(&self, model: &Model, places: &[Place]) -> impl Future<Output = Result<Vec<LoadedRow>, Fault>> + Send;

    /// Stores a part of the new table in one transaction.
    fn fill(&self, model: &Model, part: &Part) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Serves the new table with its checkpoints and parked events, in one transaction.
    fn switch(&self, model: &Model) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Drops the new table.
    fn discard(&self, model: &Model) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// Stored state of a table that is being built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BuildState {
    /// Checkpoints, one per lane; empty if the table is new.
    pub at: Vec<Checkpoint>,
    /// Streams that are parked.
    pub parked_streams: BTreeSet<StreamPlace>,
}

/// Changes of a table that is being built.
#[derive(Clone, Debug, Default)]
pub struct Part {
    pub changes: Vec<Change>,
    pub parked: Vec<Parked>,
    pub parked_streams: Vec<ParkedStream>,
    /// Checkpoints that the table reaches with these changes.
    pub at: Vec<Checkpoint>,
    /// True if the table is still empty.
    pub is_first: bool,
}

/// Options of a rebuild.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Number of rows in memory, all models together, at which rows are written; checked after each page.
    pub rows_most: usize,
    /// Number of positions per read.
    pub page: usize,
    /// Continue a build that was interrupted.
    pub resume: bool,
}

impl Default for Options {
    /// About 100 MB for rows of 500 bytes; pages of a few megabytes.
    fn default() -> Self {
        Self { rows_most: 200_000, page: 10_000, resume: false }
    }
}

/// Summary of a finished rebuild of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildSummary {
    pub model: String,
    /// Number of events of the streams that the model listens to, without those of an interrupted build.
    pub events: u64,
    /// Number of row writes; a row that is written twice counts twice.
    pub rows: u64,
    pub parked: Vec<Parked>,
    pub parked_streams: Vec<ParkedStream>,
    /// Checkpoints of the new table, one per lane.
    pub at: Vec<Checkpoint>,
}

/// Error of a rebuild. A switch is one transaction, so a served table is never half rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The log lacks some of the events between two positions.
    #[error("lane {lane} has {count} events from position {from} to {upto}; some are missing")]
    Incomplete { lane: i16, from: i64, upto: i64, count: i64 },
    /// An event was written in an epoch that a later one replaced at this position, so it is not part of the present
    /// history.
    #[error("lane {lane}, position {position}: epoch {epoch} is not the current epoch of this position")]
    OtherHistory { lane: i16, position: i64, epoch: i64 },
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Number of times that a scan goes on to the new end of the log. Each time, fewer events have been written meanwhile.
const ROUNDS_MOST: usize = 10;

/// Rebuilds these read models in one scan up to the end of the log, and switches to the new tables.
pub async fn rebuild(
    models: &[&Model],
    history: &impl HistoryScan,
    tables: &impl TableBuilder,
    options: Options,
) -> Result<Vec<RebuildSummary>, RebuildError> {
    let mut targets = history.heads().await?;
    let mut scan = Scan::begin(models, history, tables, options).await?;
    for _ in 0..ROUNDS_MOST {
        scan.fold_up_to(&targets).await?;
        let heads = history.heads().await?;
        // The projector reads the last events after the switch.
        if events_between(&targets, &heads) <= options.page {
            break;
        }
        targets = heads;
    }
    let summaries = scan.finish().await?;
    for (model, summary) in models.iter().zip(&summaries) {
        tables.switch(model).await?;
        tracing::info!(model = model.name, events = summary.events, rows = summary.rows, "read model rebuilt");
    }
    Ok(summaries)
}

/// Builds new tables of these read models in one scan up to the given ends of the lanes, without serving them.
pub async fn build(
    models: &[&Model],
    targets: &[Checkpoint],
    history: &impl HistoryScan,
    tables: &impl TableBuilder,
    options: Options,
) -> Result<Vec<RebuildSummary>, RebuildError> {
    let mut scan = Scan::begin(models, history, tables, options).await?;
    scan.fold_up_to(targets).await?;
    Ok(scan.finish().await?)
}

/// Number of events that were written between two readings of the heads.
fn events_between(before: &[Checkpoint], after: &[Checkpoint]) -> usize {
    let sum = |heads: &[Checkpoint]| heads.iter().map(|head| head.position).sum::<i64>();
    usize::try_from(sum(after) - sum(before)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
