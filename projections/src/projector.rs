//! Projector: keeps the read models of one group up to date. For each batch it loads the affected rows of all models in
//! parallel, folds the events into them, and stores rows and checkpoints of the whole group in one transaction.
//!
//! An error of one model, or of one key, does not stop the others: if the group cannot be stored as a whole, each model is
//! stored alone. A model that fails repeatedly, or that is behind the others, leaves the group and catches up in a
//! projector of its own. No event is skipped silently:
//! - Positions are dense, so a gap is detected.
//! - Epochs are compared, so a rewritten history is detected.
//! - An event that cannot be folded, or whose row cannot be read, is parked (set aside); later events of the row wait.
//! - If an event cannot be decoded, its whole stream is parked.

mod affected;
mod progress;

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kernel::{Change, Model, Parked};
use crate::ports::{Cause, Epochs, Fault, History, Move, ParkedStream, RawEvent, Rows, Step};
use progress::{BatchRead, Progress};

pub use affected::affected;

/// Applies the log to the read models of one group. A model should have one projector. If two apply the same events, the
/// checkpoint check of [`Rows::put`] accepts one batch, and the other projector reloads its checkpoints.
pub struct Projector<S, H> {
    rows: S,
    history: H,
    models: Vec<Progress>,
    epochs: BTreeMap<i16, Epochs>,
}

/// Result of one batch.
#[derive(Debug, Default)]
pub struct BatchOutcome {
    /// Models whose checkpoints advanced, each with the rows that changed, if any.
    pub changed: Vec<ChangedRows>,
    /// Events that were parked, each with the name of its model, for operators.
    pub parked: Vec<(String, Parked)>,
    /// Streams that were parked, each with the name of its model, for operators.
    pub parked_streams: Vec<(String, ParkedStream)>,
    pub errors: Vec<ProjectionError>,
}

/// A batch, read and folded for one model, that is not stored yet.
struct Prepared {
    read: BatchRead,
    step: Step,
}

/// Rows of one model that a batch, or a part of it, changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedRows {
    pub model: String,
    /// Checkpoints before and after, once per lane.
    pub moves: Vec<Move>,
    pub rows: Vec<Change>,
}

/// Error of one model, which did not apply the whole batch. Other models are not affected.
#[derive(Debug, thiserror::Error)]
#[error("{model}: {kind}")]
pub struct ProjectionError {
    pub model: String,
    pub kind: ProjectionErrorKind,
}

/// Cause of a projection error.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionErrorKind {
    /// Events are missing in the batch. Read them from the log with [`Projector::catch_up`].
    #[error("lane {lane}: events after position {after} are missing in the batch")]
    Gap { lane: i16, after: i64 },
    /// The model has applied events that the log no longer has, because a fail-over or a restore replaced them. It stops
    /// in this lane and must be rebuilt.
    #[error("lane {lane} was rewritten after position {common}; the model must be rebuilt")]
    OtherHistory { lane: i16, common: i64 },
    /// The store failed. Parts of the batch that this model had already stored are kept.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl<S: Rows, H: History> Projector<S, H> {
    /// Starts at the checkpoints of the models. A model without a table is left out: it is still being built.
    pub async fn open(rows: S, history: H, models: impl IntoIterator<Item = Model>) -> Result<Self, Fault> {
        let mut progresses = Vec::new();
        for model in models {
            let checkpoints = rows.checkpoints(&model).await?;
            if !checkpoints.is_empty() {
                let parked = rows.parked_streams(&model).await?;
                progresses.push(Progress::new(model, checkpoints, parked));
            }
        }
        Ok(Self { rows, history, models: progresses, epochs: BTreeMap::new() })
    }

    /// Models that this projector keeps up to date.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.iter().map(|progress| progress.model().as_ref())
    }

    /// Position after which the next batch of a lane should begin so that no model misses an event; `None` if no model
    /// follows the lane or all are stopped in it.
    pub fn after(&self, lane: i16) -> Option<i64> {
        self.models.iter().filter_map(|progress| progress.after(lane)).min()
    }

    /// Models that are stopped, each with the lane, for operators.
    pub fn stopped(&self) -> impl Iterator<Item = (&Model, i16)> {
        self.models.iter().flat_map(|progress| progress.stopped().map(|lane| (progress.model().as_ref(), lane)))
    }

    /// Models that failed repeatedly, each with its last error, for operators.
    pub fn failing(&self) -> impl Iterator<Item = (&Model, &str)> {
        self.models.iter().filter_map(|progress| Some((progress.model().as_ref(), progress.failing()?)))
    }

    /// Removes the models that are more than `most` events behind the first one, these lanes together, so that they do
    /// not hold up the others.
    pub fn take_late(&mut self, lanes: &BTreeSet<i16>, most: i64) -> Vec<Model> {
        let first = |lane: &i16| self.models.iter().filter_map(|progress| progress.after(*lane)).max();
        let firsts: Vec<(i16, i64)> = lanes.iter().filter_map(|lane| Some((*lane, first(lane)?))).collect();
        let behind = |progress: &Progress| -> i64 {
            firsts.iter().filter_map(|(lane, first)| Some(first - progress.after(*lane)?)).sum()
        };
        let late = self.models.extract_if(.., |progress| behind(progress) > most);
        late.map(|progress| progress.model().as_ref().clone()).collect()
    }

    /// Removes the models that failed repeatedly, each with its last error. While every model fails, as without a
    /// database, none is removed.
    pub fn take_failing(&mut self) -> Vec<(Model, String)> {
        if self.models.iter().all(Progress::has_failed) {
            return Vec::new();
        }
        let failing = self.models.extract_if(.., |progress| progress.failing().is_some());
        let described =
            |progress: Progress| (progress.model().as_ref().clone(), progress.failing().unwrap_or_default().to_owned());
        failing.map(described).collect()
    }

    /// Reads the next events of a lane from the log and applies them.
    pub async fn catch_up(&mut self, lane: i16, most: usize) -> Result<BatchOutcome, Fault> {
        let Some(after) = self.after(lane) else { return Ok(BatchOutcome::default()) };
        let events = self.history.events(lane, after, most).await?;
        self.apply(&events).await
    }

    /// Applies a batch of events, in order within each lane. Events that a model has applied before are skipped.
    pub async fn apply<E: Borrow<RawEvent> + Sync>(&mut self, events: &[E]) -> Result<BatchOutcome, Fault> {
        self.load_epochs(events).await?;
        let mut outcome = BatchOutcome::default();
        if !self.advance_together(events, &mut outcome).await {
            for index in 0..self.models.len() {
                self.advance(index, events, &mut outcome).await;
            }
        }
        Ok(outcome)
    }

    /// Applies a batch to all models in one transaction. Returns false if that is impossible; nothing is stored then.
    async fn advance_together<E: Borrow<RawEvent> + Sync>(&mut self, events: &[E], outcome: &mut BatchOutcome) -> bool {
        let Ok(prepared) = prepare(&self.rows, &self.models, &self.epochs, events).await else { return false };
        let (mut reads, mut steps) = (Vec::new(), Vec::new());
        for (progress, Prepared { read, step }) in self.models.iter().zip(prepared) {
            reads.push(read);
            steps.push((Arc::clone(progress.model()), step));
        }
        let advances = steps.iter().any(|(_, step)| !step.moves.is_empty());
        if advances && self.rows.put(&steps).await.is_err() {
            return false;
        }
        for ((progress, read), (_, step)) in self.models.iter_mut().zip(reads).zip(steps) {
            progress.settle(read, step, outcome);
            progress.record_success();
        }
        true
    }

    /// Reloads the epochs of each lane in which an event has an unknown epoch, as after a take-over, a fail-over or a
    /// restore.
    async fn load_epochs<E: Borrow<RawEvent>>(&mut self, events: &[E]) -> Result<(), Fault> {
        for event in events.iter().map(Borrow::borrow) {
            if !self.epochs.get(&event.lane).is_some_and(|known| known.knows(event.epoch)) {
                let epochs = self.history.epochs(event.lane).await?;
                self.epochs.insert(event.lane, epochs);
            }
        }
        Ok(())
    }

    /// Applies a batch to one model: as a whole, or in halves if the store refuses a row.
    async fn advance<E: Borrow<RawEvent> + Sync>(&mut self, index: usize, events: &[E], outcome: &mut BatchOutcome) {
        let mut parts = vec![events];
        while let Some(part) = parts.pop() {
            let refused = match self.apply_part(index, part, outcome).await {
                Ok(()) => continue,
                Err(Fault { cause: Cause::Corrupt, .. }) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    continue;
                }
                Err(fault) => fault,
            };
            let progress = &mut self.models[index];
            let conflict = refused.cause == Cause::Conflict;
            if !conflict {
                progress.record_failure(&refused);
            }
            outcome.errors.push(ProjectionError { model: progress.model().name.clone(), kind: refused.into() });
            if conflict
                && let Ok(checkpoints) = self.rows.checkpoints(progress.model()).await
                && let Ok(parked) = self.rows.parked_streams(progress.model()).await
            {
                progress.reset(checkpoints, parked);
            }
            return;
        }
        self.models[index].record_success();
    }

    /// Applies one part of a batch to one model.
    async fn apply_part<E: Borrow<RawEvent> + Sync>(
        &mut self,
        index: usize,
        events: &[E],
        outcome: &mut BatchOutcome,
    ) -> Result<(), Fault> {
        let one = std::slice::from_ref(&self.models[index]);
        let Some(Prepared { read, step }) = prepare(&self.rows, one, &self.epochs, events).await?.pop() else {
            return Ok(());
        };
        let progress = &mut self.models[index];
        let mut steps = [(Arc::clone(progress.model()), step)];
        if !read.moves.is_empty() {
            match self.rows.put(&steps).await {
                // A single event whose row the store refuses is parked, like one that cannot be folded.
                Err(Fault { cause: Cause::Corrupt, source, .. }) if events.len() == 1 => {
                    let refusal = source.map_or_else(String::new, |source| source.to_string());
                    steps[0].1.park_changes(events[0].borrow(), &refusal);
                    self.rows.put(&steps).await?;
                }
                done => done?,
            }
        }
        let [(_, step)] = steps;
        progress.settle(read, step, outcome);
        Ok(())
    }
}

/// Reads a batch for each of these models, loads the affected rows of all of them, and folds them.
async fn prepare<S: Rows, E: Borrow<RawEvent> + Sync>(
    rows: &S,
    models: &[Progress],
    epochs: &BTreeMap<i16, Epochs>,
    events: &[E],
) -> Result<Vec<Prepared>, Fault> {
    let (mut folds, mut wanted) = (Vec::with_capacity(models.len()), Vec::with_capacity(models.len()));
    for progress in models {
        let mut fold = progress.model().begin_fold();
        let read = progress.read(events, epochs, fold.as_mut());
        wanted.push((Arc::clone(progress.model()), fold.missing()));
        folds.push((read, fold));
    }
    let loaded = rows.load(&wanted).await?;
    let mut prepared = Vec::with_capacity(models.len());
    for (((read, mut fold), (_, places)), loaded) in folds.into_iter().zip(&wanted).zip(&loaded) {
        for (place, stored) in places.iter().zip(loaded) {
            fold.supply(place, stored.row.as_deref(), stored.waiting);
        }
        let mut parked = fold.fold();
        let (changes, unwritable) = fold.drain();
        parked.extend(unwritable);
        let step = Step {
            moves: read.moves.clone(),
            changes,
            parked,
            parked_streams: read.parked_streams.clone(),
            skipped: read.skipped.clone(),
        };
        prepared.push(Prepared { read, step });
    }
    Ok(prepared)
}

impl Progress {
    /// Completes a step that was stored: advances the checkpoints in memory, stops lanes with errors, and adds the results
    /// to `outcome`.
    fn settle(&mut self, read: BatchRead, step: Step, outcome: &mut BatchOutcome) {
        self.advance(&read.moves);
        self.stop(&read.errors);
        self.park(&read.parked_streams);
        let name = || self.model().name.clone();
        outcome.errors.extend(read.errors.into_iter().map(|kind| ProjectionError { model: name(), kind }));
        outcome.parked_streams.extend(read.parked_streams.into_iter().map(|parked| (name(), parked)));
        outcome.parked.extend(step.parked.into_iter().map(|parked| (name(), parked)));
        if !read.moves.is_empty() {
            outcome.changed.push(ChangedRows { model: name(), moves: read.moves, rows: step.changes });
        }
    }
}

impl Step {
    /// Replaces the row changes of the step by parked events, one for each row. The step consists of this one event.
    fn park_changes(&mut self, event: &RawEvent, refusal: &str) {
        let (lane, position) = (event.lane, event.position);
        let reason = format!("the store refuses the row: {refusal}");
        let parked = |change: Change| Parked { place: change.place, lane, position, reason: reason.clone() };
        self.parked.extend(self.changes.drain(..).map(parked));
    }
}

#[cfg(test)]
mod tests;
