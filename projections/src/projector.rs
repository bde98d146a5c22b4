//! Projector: keeps read models up to date. For each batch and model it loads the affected rows, folds the events into
//! them, and stores rows and checkpoints in one transaction.
//!
//! An error of one model, or of one key, does not stop the others; only a failed read of the log stops all models for
//! this batch. A model that fails repeatedly is isolated: it no longer decides where the next batch begins, and catches up
//! on its own. No event is skipped silently:
//! - Positions are dense, so a gap is detected.
//! - Epochs are compared, so a rewritten history is detected.
//! - An event that cannot be folded, or whose row cannot be read, is parked (set aside); later events of the row wait.
//! - If an event cannot be decoded, its whole stream is parked.

mod affected;
mod progress;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::kernel::{Change, Model, Parked};
use crate::ports::{Cause, Epochs, Fault, History, Move, ParkedStream, RawEvent, Rows, Step};
use progress::{BatchRead, Progress};

pub use affected::affected;

/// Applies the log to any number of read models. A model should have one projector. If two apply the same events, the
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

    /// Models that are isolated because they failed repeatedly, each with its last error, for operators.
    pub fn isolated(&self) -> impl Iterator<Item = (&Model, &str)> {
        self.models.iter().filter_map(|progress| Some((progress.model().as_ref(), progress.isolated()?)))
    }

    /// Reads the next events of a lane from the log and applies them.
    pub async fn catch_up(&mut self, lane: i16, most: usize) -> Result<BatchOutcome, Fault> {
        let Some(after) = self.after(lane) else { return Ok(BatchOutcome::default()) };
        let events = self.history.events(lane, after, most).await?;
        self.apply(&events).await
    }

    /// Applies a batch of events, in order within each lane. Events that a model has applied before are skipped.
    pub async fn apply(&mut self, events: &[RawEvent]) -> Result<BatchOutcome, Fault> {
        self.load_epochs(events).await?;
        let mut outcome = BatchOutcome::default();
        let types: BTreeSet<&str> = events.iter().map(|event| &*event.stream_type).collect();
        let following = (0..self.models.len()).filter(|index| self.models[*index].isolated().is_none());
        let (affected, unaffected): (Vec<_>, Vec<_>) =
            following.partition(|index| self.models[*index].listens_to(&types));
        self.skip_unaffected(&unaffected, events, &mut outcome).await;
        for index in affected {
            self.advance(index, events, &mut outcome).await;
        }
        // While every model fails, as without a database, none is isolated.
        if self.models.iter().any(|progress| !progress.has_failed()) {
            self.models.iter_mut().for_each(Progress::isolate_if_failing);
        }
        Ok(outcome)
    }

    /// Reads the next events of these lanes for each isolated model and applies them to it alone. A model that reaches
    /// the ends of the lanes follows with the others again. Returns, for each isolated model, the events that were read for it and the outcome.
    pub async fn retry_isolated(
        &mut self,
        lanes: &BTreeSet<i16>,
        most: usize,
    ) -> Result<Vec<(Vec<RawEvent>, BatchOutcome)>, Fault> {
        let mut outcomes = Vec::new();
        for index in 0..self.models.len() {
            if self.models[index].isolated().is_none() {
                continue;
            }
            let (mut events, mut is_behind) = (Vec::new(), false);
            for lane in lanes {
                let Some(after) = self.models[index].own_position(*lane) else { continue };
                let page = self.history.events(*lane, after, most).await?;
                is_behind |= page.len() >= most;
                events.extend(page);
            }
            self.load_epochs(&events).await?;
            let mut outcome = BatchOutcome::default();
            self.advance(index, &events, &mut outcome).await;
            if outcome.errors.is_empty() && !is_behind {
                self.models[index].rejoin();
            }
            outcomes.push((events, outcome));
        }
        Ok(outcomes)
    }

    /// Advances the models that listen to no stream type of the batch, all in one transaction. If that fails, each
    /// model advances on its own.
    async fn skip_unaffected(&mut self, unaffected: &[usize], events: &[RawEvent], outcome: &mut BatchOutcome) {
        let mut reads = Vec::new();
        let mut moves = Vec::new();
        for index in unaffected {
            let progress = &self.models[*index];
            let read = progress.read(events, &self.epochs, progress.model().begin_fold().as_mut());
            if !read.moves.is_empty() {
                moves.push((Arc::clone(progress.model()), read.moves.clone()));
            }
            reads.push(read);
        }
        if moves.is_empty() || self.rows.advance_checkpoints(&moves).await.is_ok() {
            for (index, read) in unaffected.iter().zip(reads) {
                self.models[*index].settle(read, Step::default(), outcome);
            }
        } else {
            for index in unaffected {
                self.advance(*index, events, outcome).await;
            }
        }
    }

    /// Reloads the epochs of each lane in which an event has an unknown epoch, as after a take-over, a fail-over or a
    /// restore.
    async fn load_epochs(&mut self, events: &[RawEvent]) -> Result<(), Fault> {
        for event in events {
            if !self.epochs.get(&event.lane).is_some_and(|known| known.knows(event.epoch)) {
                let epochs = self.history.epochs(event.lane).await?;
                self.epochs.insert(event.lane, epochs);
            }
        }
        Ok(())
    }

    /// Applies a batch to one model: as a whole, or in halves if the store refuses a row.
    async fn advance(&mut self, index: usize, events: &[RawEvent], outcome: &mut BatchOutcome) {
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

    /// Applies one part of a batch to one model: read, load, fold, put.
    async fn apply_part(&mut self, index: usize, events: &[RawEvent], outcome: &mut BatchOutcome) -> Result<(), Fault> {
        let progress = &mut self.models[index];
        let model = Arc::clone(progress.model());
        let mut fold = model.begin_fold();
        let read = progress.read(events, &self.epochs, fold.as_mut());
        let mut step = Step {
            moves: read.moves.clone(),
            parked_streams: read.parked_streams.clone(),
            skipped: read.skipped.clone(),
            ..Step::default()
        };
        if !step.moves.is_empty() {
            let places = fold.missing();
            let loaded = if places.is_empty() { Vec::new() } else { self.rows.load(&model, &places).await? };
            for (place, stored) in places.iter().zip(&loaded) {
                fold.supply(place, stored.row.as_deref(), stored.waiting);
            }
            step.parked = fold.fold();
            let (changes, unwritable) = fold.drain();
            step.changes = changes;
            step.parked.extend(unwritable);
            match self.rows.put(&model, &step).await {
                // A single event whose row the store refuses is parked, like one that cannot be folded.
                Err(Fault { cause: Cause::Corrupt, source, .. }) if events.len() == 1 => {
                    step.park_changes(&events[0], source.map_or_else(String::new, |source| source.to_string()));
                    self.rows.put(&model, &step).await?;
                }
                done => done?,
            }
        }
        progress.settle(read, step, outcome);
        Ok(())
    }
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
    fn park_changes(&mut self, event: &RawEvent, refusal: String) {
        let (lane, position) = (event.lane, event.position);
        let reason = format!("the store refuses the row: {refusal}");
        let parked = |change: Change| Parked { place: change.place, lane, position, reason: reason.clone() };
        self.parked.extend(self.changes.drain(..).map(parked));
    }
}

#[cfg(test)]
mod tests;
