//! Keeps read models up to date: batch → load rows → fold → put rows and checkpoints together.
//!
//! Every model goes its own way: what stops one of them, or one key of it, never stops another. Nothing is skipped
//! silently (design 5): positions are dense, so what is missing is seen; epochs are compared, so what was lost and
//! then written differently is seen; what cannot be folded is parked and what cannot be read stops its lane.

mod course;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use domain::kernel::Unreadable;

use crate::kernel::{Change, Model, Parked};
use crate::ports::{Cause, Epochs, Fault, History, Move, RawEvent, Rows, Step};
use course::{Course, Read};

/// Follows the log with any number of read models. One projector at a time should keep a model; if there are two,
/// checkpoints decide and the slower one reads again.
pub struct Projector<S, H> {
    rows: S,
    history: H,
    courses: Vec<Course>,
    epochs: BTreeMap<i16, Epochs>,
}

/// What became of one batch.
#[derive(Debug, Default)]
pub struct Taken {
    /// The rows that readers now see, model by model.
    pub changed: Vec<Changed>,
    /// What waits for a person, with the name of its model.
    pub parked: Vec<(String, Parked)>,
    pub troubles: Vec<Trouble>,
}

/// The rows of one model that a batch changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub model: String,
    /// From where to where the model went, once for each lane of the batch.
    pub moves: Vec<Move>,
    pub rows: Vec<Change>,
}

/// Why a model did not take all of a batch. Others did.
#[derive(Debug, thiserror::Error)]
#[error("{model}: {what}")]
pub struct Trouble {
    pub model: String,
    pub what: What,
}

/// What kept a model from going on.
#[derive(Debug, thiserror::Error)]
pub enum What {
    /// Records are missing on the wire. Read the log from here: [`Projector::catch_up`].
    #[error("lane {lane} goes on elsewhere than after position {after}")]
    Hole { lane: i16, after: i64 },
    /// The model has seen a history that was lost. It stops in this lane and must be rebuilt.
    #[error("lane {lane} was rewritten after position {common}; the model must be rebuilt")]
    OtherHistory { lane: i16, common: i64 },
    /// The code cannot read an event. The model stops in this lane until [`Projector::resume`].
    #[error("lane {lane}, position {position}, stream {stream_type}: {unreadable}")]
    Unreadable { lane: i16, position: i64, stream_type: String, unreadable: Unreadable },
    /// The store failed; nothing of the batch is stored for this model.
    #[error("{0}")]
    Fault(#[from] Fault),
}

impl<S: Rows, H: History> Projector<S, H> {
    /// Begins where the models stand. A model without a table is left out: it is still being built.
    pub async fn open(rows: S, history: H, models: impl IntoIterator<Item = Model>) -> Result<Self, Fault> {
        let mut courses = Vec::new();
        for model in models {
            let checkpoints = rows.checkpoints(&model).await?;
            if !checkpoints.is_empty() {
                courses.push(Course::new(model, checkpoints));
            }
        }
        Ok(Self { rows, history, courses, epochs: BTreeMap::new() })
    }

    /// The models it keeps.
    pub fn models(&self) -> impl Iterator<Item = &Model> {
        self.courses.iter().map(|course| course.model().as_ref())
    }

    /// After which position of a lane the next batch should begin, so that no model misses anything; nothing where
    /// no model follows this lane.
    pub fn after(&self, lane: i16) -> Option<i64> {
        self.courses.iter().filter_map(|course| course.after(lane)).min()
    }

    /// The models that do not go on in a lane, for operators.
    pub fn stopped(&self) -> impl Iterator<Item = (&Model, i16)> {
        self.courses.iter().flat_map(|course| course.stopped().map(|lane| (course.model().as_ref(), lane)))
    }

    /// Lets stopped models try again.
    pub fn resume(&mut self) {
        self.courses.iter_mut().for_each(Course::resume);
    }

    /// Takes the next events of a lane from the log.
    pub async fn catch_up(&mut self, lane: i16, most: usize) -> Result<Taken, Fault> {
        let Some(after) = self.after(lane) else { return Ok(Taken::default()) };
        let events = self.history.events(lane, after, most).await?;
        self.take(&events).await
    }

    /// Takes a batch of events, in order within each lane. What a model has taken before, it skips.
    pub async fn take(&mut self, events: &[RawEvent]) -> Result<Taken, Fault> {
        self.learn(events).await?;
        let mut taken = Taken::default();
        let types: BTreeSet<&str> = events.iter().map(|event| &*event.stream_type).collect();
        let (busy, idle): (Vec<_>, Vec<_>) =
            (0..self.courses.len()).partition(|course| self.courses[*course].listens_to(&types));
        self.pass(&idle, events, &mut taken).await;
        for course in busy {
            self.advance(course, events, &mut taken).await;
        }
        Ok(taken)
    }

    /// The models that listen to nothing in a batch go on together. Where one of them cannot, each goes its own way.
    async fn pass(&mut self, idle: &[usize], events: &[RawEvent], taken: &mut Taken) {
        let mut reads = Vec::new();
        let mut moves = Vec::new();
        for course in idle {
            let course = &self.courses[*course];
            let read = course.read(events, &self.epochs, course.model().begin().as_mut());
            if !read.moves.is_empty() {
                moves.push((Arc::clone(course.model()), read.moves.clone()));
            }
            reads.push(read);
        }
        if moves.is_empty() || self.rows.pass(&moves).await.is_ok() {
            for (course, read) in idle.iter().zip(reads) {
                self.courses[*course].settle(read, Step::default(), taken);
            }
        } else {
            for course in idle {
                self.advance(*course, events, taken).await;
            }
        }
    }

    /// Looks up the histories of lanes in which an unknown one turns up: after a take-over, a fail-over, a restore.
    async fn learn(&mut self, events: &[RawEvent]) -> Result<(), Fault> {
        for event in events {
            if !self.epochs.get(&event.lane).is_some_and(|known| known.knows(event.epoch)) {
                let epochs = self.history.epochs(event.lane).await?;
                self.epochs.insert(event.lane, epochs);
            }
        }
        Ok(())
    }

    /// One model takes a batch: as a whole, or in halves where the store refuses some row of it.
    async fn advance(&mut self, course: usize, events: &[RawEvent], taken: &mut Taken) {
        let mut parts = vec![events];
        while let Some(part) = parts.pop() {
            let refused = match self.attempt(course, part, taken).await {
                Ok(()) => continue,
                Err(Fault { cause: Cause::Corrupt, .. }) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    continue;
                }
                Err(fault) => fault,
            };
            let course = &mut self.courses[course];
            let conflict = refused.cause == Cause::Conflict;
            taken.troubles.push(Trouble { model: course.model().name.clone(), what: refused.into() });
            if conflict && let Ok(checkpoints) = self.rows.checkpoints(course.model()).await {
                course.go_to(checkpoints);
            }
            return;
        }
    }

    /// Reads, loads, folds and puts one part of a batch for one model.
    async fn attempt(&mut self, course: usize, events: &[RawEvent], taken: &mut Taken) -> Result<(), Fault> {
        let course = &mut self.courses[course];
        let model = Arc::clone(course.model());
        let mut fold = model.begin();
        let read = course.read(events, &self.epochs, fold.as_mut());
        let mut step = Step { moves: read.moves.clone(), ..Step::default() };
        if !step.moves.is_empty() {
            let places = fold.missing();
            let loaded = if places.is_empty() { Vec::new() } else { self.rows.load(&model, &places).await? };
            for (place, found) in places.iter().zip(&loaded) {
                fold.supply(place, found.row.as_deref(), found.waiting).map_err(|error| corrupt(&model, error))?;
            }
            step.parked = fold.fold();
            step.changes = fold.drain().map_err(|error| corrupt(&model, error))?;
            match self.rows.put(&model, &step).await {
                // The last resort for one event whose row no store takes: it waits like one that no fold takes.
                Err(Fault { cause: Cause::Corrupt, source, .. }) if events.len() == 1 => {
                    step.park_changes(&events[0], source.map_or_else(String::new, |source| source.to_string()));
                    self.rows.put(&model, &step).await?;
                }
                done => done?,
            }
        }
        course.settle(read, step, taken);
        Ok(())
    }
}

impl Course {
    /// Goes on after what the store has taken, and tells of it.
    fn settle(&mut self, read: Read, step: Step, taken: &mut Taken) {
        self.moved(&read.moves);
        self.stop(&read.troubles);
        let name = || self.model().name.clone();
        taken.troubles.extend(read.troubles.into_iter().map(|what| Trouble { model: name(), what }));
        taken.parked.extend(step.parked.into_iter().map(|parked| (name(), parked)));
        if !read.moves.is_empty() {
            taken.changed.push(Changed { model: name(), moves: read.moves, rows: step.changes });
        }
    }
}

impl Step {
    /// Turns every change of this event into a wait.
    fn park_changes(&mut self, event: &RawEvent, refused: String) {
        let (lane, position) = (event.lane, event.position);
        let reason = format!("the store refuses the row: {refused}");
        let parked = |change: Change| Parked { place: change.place, lane, position, reason: reason.clone() };
        self.parked.extend(self.changes.drain(..).map(parked));
    }
}

fn corrupt(model: &Model, unreadable: Unreadable) -> Fault {
    Fault::caused(Cause::Corrupt, format!("reading rows of {}", model.name), unreadable)
}

#[cfg(test)]
mod tests;
