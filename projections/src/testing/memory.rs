//! A log and a store for rows in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::EPOCH;
use crate::kernel::{Model, Parked, Place};
use crate::ports::{Cause, Checkpoint, Epochs, Fault, History, Loaded, Move, RawEvent, Rows, Step};

/// Both ports in memory. Lanes are those of its history; it begins with one epoch per lane.
#[derive(Debug, Default)]
pub struct Memory {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    tables: BTreeMap<String, Table>,
    events: BTreeMap<i16, Vec<RawEvent>>,
    epochs: BTreeMap<i16, Vec<(i64, i64)>>,
    refused: Option<Cause>,
}

#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<Place, String>,
    checkpoints: BTreeMap<i16, Checkpoint>,
    parked: Vec<Parked>,
}

impl Memory {
    /// With an empty table for a model.
    #[must_use]
    pub fn with_table(self, model: &Model) -> Self {
        let checkpoints = (0..16).map(|lane| (lane, Checkpoint::start(lane))).collect();
        self.inside().tables.insert(model.table(), Table { checkpoints, ..Table::default() });
        self
    }

    /// With more history.
    #[must_use]
    pub fn with_history(self, events: &[RawEvent]) -> Self {
        for event in events {
            let mut inside = self.inside();
            inside.events.entry(event.lane).or_default().push(event.clone());
            inside.epochs.entry(event.lane).or_insert_with(|| vec![(EPOCH, 1)]);
        }
        self
    }

    /// A lane is taken over: what it held from this position on is lost.
    pub fn begin_epoch(&self, lane: i16, epoch: i64, first_position: i64) {
        let mut inside = self.inside();
        inside.epochs.entry(lane).or_default().push((epoch, first_position));
        inside.events.entry(lane).or_default().retain(|event| event.position < first_position);
    }

    /// The next put fails.
    pub fn refuse_once(&self, cause: Cause) {
        self.inside().refused = Some(cause);
    }

    /// All rows of a model, in the order of their places.
    pub fn rows(&self, model: &Model) -> Vec<String> {
        self.inside().tables.get(&model.table()).into_iter().flat_map(|table| table.rows.values().cloned()).collect()
    }

    /// What waits.
    pub fn parked(&self, model: &Model) -> Vec<Parked> {
        self.inside().tables.get(&model.table()).into_iter().flat_map(|table| table.parked.clone()).collect()
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn pass(&mut self, moves: &[(Arc<Model>, Vec<Move>)]) -> Result<(), Fault> {
        let stands = |(model, moves): &(Arc<Model>, Vec<Move>)| {
            let table = self.tables.get(&model.table());
            table.is_some_and(|table| moves.iter().all(|(from, _)| table.checkpoints.get(&from.lane) == Some(from)))
        };
        if !moves.iter().all(stands) {
            return Err(Fault::new(Cause::Conflict, "passing events by"));
        }
        for (model, moves) in moves {
            let table = self.tables.entry(model.table()).or_default();
            table.checkpoints.extend(moves.iter().map(|(_, to)| (to.lane, *to)));
        }
        Ok(())
    }

    fn put(&mut self, model: &Model, step: &Step) -> Result<(), Fault> {
        let fault = |cause| Fault::new(cause, format!("putting rows of {}", model.name));
        if let Some(cause) = self.refused.take() {
            return Err(fault(cause));
        }
        let table = self.tables.get_mut(&model.table()).ok_or_else(|| fault(Cause::Unavailable))?;
        if step.moves.iter().any(|(from, _)| table.checkpoints.get(&from.lane) != Some(from)) {
            return Err(fault(Cause::Conflict));
        }
        // What PostgreSQL refuses, this store refuses too.
        if step.changes.iter().any(|change| change.row.as_ref().is_some_and(|row| row.contains("\\u0000"))) {
            return Err(fault(Cause::Corrupt));
        }
        table.checkpoints.extend(step.moves.iter().map(|(_, to)| (to.lane, *to)));
        table.parked.extend(step.parked.iter().cloned());
        for change in &step.changes {
            match &change.row {
                Some(row) => table.rows.insert(change.place.clone(), row.clone()),
                None => table.rows.remove(&change.place),
            };
        }
        Ok(())
    }
}

impl Rows for &Memory {
    fn checkpoints(&self, model: &Model) -> impl Future<Output = Result<Vec<Checkpoint>, Fault>> + Send {
        let inside = self.inside();
        let table = inside.tables.get(&model.table());
        ready(Ok(table.map(|table| table.checkpoints.values().copied().collect()).unwrap_or_default()))
    }

    fn load(&self, model: &Model, places: &[Place]) -> impl Future<Output = Result<Vec<Loaded>, Fault>> + Send {
        let inside = self.inside();
        let Some(table) = inside.tables.get(&model.table()) else { return ready(Ok(Vec::new())) };
        let waiting: BTreeSet<_> = table.parked.iter().map(|parked| &parked.place).collect();
        let load = |place| Loaded { row: table.rows.get(place).cloned(), waiting: waiting.contains(place) };
        ready(Ok(places.iter().map(load).collect()))
    }

    fn put(&self, model: &Model, step: &Step) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(self.inside().put(model, step))
    }

    fn pass(&self, moves: &[(Arc<Model>, Vec<Move>)]) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(self.inside().pass(moves))
    }
}

impl History for &Memory {
    fn events(&self, lane: i16, after: i64, most: usize) -> impl Future<Output = Result<Vec<RawEvent>, Fault>> + Send {
        let inside = self.inside();
        let events = inside.events.get(&lane).into_iter().flatten();
        ready(Ok(events.filter(|event| event.position > after).take(most).cloned().collect()))
    }

    fn heads(&self) -> impl Future<Output = Result<Vec<Checkpoint>, Fault>> + Send {
        let head = |event: &RawEvent| Checkpoint { lane: event.lane, position: event.position, epoch: event.epoch };
        ready(Ok(self.inside().events.values().filter_map(|events| events.last().map(head)).collect()))
    }

    fn epochs(&self, lane: i16) -> impl Future<Output = Result<Epochs, Fault>> + Send {
        ready(Ok(Epochs::new(self.inside().epochs.get(&lane).cloned().unwrap_or_default())))
    }
}
