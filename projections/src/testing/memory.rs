//! In-memory log and row store.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::EPOCH;
use crate::kernel::{Model, Parked, Place};
use crate::ports::{
    Cause, Checkpoint, Epochs, Fault, History, HistoryScan, LoadedRow, RawEvent, Rows, Step, StreamPlace,
};

/// In-memory implementation of both ports. Every lane of its history has one epoch, [`EPOCH`], at first.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<String, Table>,
    events: BTreeMap<i16, Vec<RawEvent>>,
    epochs: BTreeMap<i16, Vec<(i64, i64)>>,
    /// Number of the next puts that fail, and the cause.
    fail_next: Option<(u32, Cause)>,
    /// Table of the model whose puts fail.
    failing: Option<String>,
    /// Number of puts that were stored.
    transactions: u32,
    /// Number of events that scans have read.
    scanned: usize,
}

#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<Place, String>,
    checkpoints: BTreeMap<i16, Checkpoint>,
    parked: Vec<Parked>,
    parked_streams: BTreeSet<StreamPlace>,
}

impl Memory {
    /// Adds an empty table for a model.
    #[must_use]
    pub fn with_table(self, model: &Model) -> Self {
        let checkpoints = (0..16).map(|lane| (lane, Checkpoint::start(lane))).collect();
        self.state().tables.insert(model.table(), Table { checkpoints, ..Table::default() });
        self
    }

    /// Appends events to the history.
    #[must_use]
    pub fn with_history(self, events: &[RawEvent]) -> Self {
        for event in events {
            let mut state = self.state();
            state.events.entry(event.lane).or_default().push(event.clone());
            state.epochs.entry(event.lane).or_insert_with(|| vec![(EPOCH, 1)]);
        }
        self
    }

    /// Begins an epoch, as a fail-over does, and removes the events of the lane from this position on.
    pub fn begin_epoch(&self, lane: i16, epoch: i64, first_position: i64) {
        let mut state = self.state();
        state.epochs.entry(lane).or_default().push((epoch, first_position));
        state.events.entry(lane).or_default().retain(|event| event.position < first_position);
    }

    /// Makes the next puts fail, whatever their models are.
    pub fn fail_next_puts(&self, count: u32, cause: Cause) {
        self.state().fail_next = Some((count, cause));
    }

    /// Makes every `put` of this model fail, or of none.
    pub fn fail_puts_of(&self, model: Option<&Model>) {
        self.state().failing = model.map(Model::table);
    }

    /// Number of puts that were stored.
    pub fn transactions(&self) -> u32 {
        self.state().transactions
    }

    /// Number of events that scans have read.
    pub fn scanned(&self) -> usize {
        self.state().scanned
    }

    /// Lets the parked streams of a model continue.
    pub fn continue_streams(&self, model: &Model) {
        if let Some(table) = self.state().tables.get_mut(&model.table()) {
            table.parked_streams.clear();
        }
    }

    /// Makes the rows that match unreadable.
    pub fn break_row(&self, model: &Model, matches: impl Fn(&str) -> bool) {
        let mut state = self.state();
        let rows = state.tables.get_mut(&model.table()).into_iter().flat_map(|table| table.rows.values_mut());
        rows.filter(|row| matches(row)).for_each(|row| *row = String::from("{}"));
    }

    /// All rows of a model in the order of their places.
    pub fn rows(&self, model: &Model) -> Vec<String> {
        self.state().tables.get(&model.table()).into_iter().flat_map(|table| table.rows.values().cloned()).collect()
    }

    /// Parked events of a model.
    pub fn parked(&self, model: &Model) -> Vec<Parked> {
        self.state().tables.get(&model.table()).into_iter().flat_map(|table| table.parked.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn load(&self, model: &Model, places: &[Place]) -> Vec<LoadedRow> {
        let Some(table) = self.tables.get(&model.table()) else { return Vec::new() };
        let waiting: BTreeSet<_> = table.parked.iter().map(|parked| &parked.place).collect();
        let load = |place| LoadedRow { row: table.rows.get(place).cloned(), waiting: waiting.contains(place) };
        places.iter().map(load).collect()
    }

    /// Stores all steps or none.
    fn put_all(&mut self, steps: &[(Arc<Model>, Step)]) -> Result<(), Fault> {
        if let Some((count, cause)) = self.fail_next.take() {
            self.fail_next = (count > 1).then(|| (count - 1, cause));
            return Err(Fault::new(cause, "putting rows"));
        }
        steps.iter().try_for_each(|(model, step)| self.check(model, step))?;
        steps.iter().for_each(|(model, step)| self.put(model, step));
        self.transactions += 1;
        Ok(())
    }

    fn check(&self, model: &Model, step: &Step) -> Result<(), Fault> {
        let fault = |cause| Fault::new(cause, format!("putting rows of {}", model.name));
        if self.failing == Some(model.table()) {
            return Err(fault(Cause::Unavailable));
        }
        let table = self.tables.get(&model.table()).ok_or_else(|| fault(Cause::Unavailable))?;
        if step.moves.iter().any(|(from, _)| table.checkpoints.get(&from.lane) != Some(from)) {
            return Err(fault(Cause::Conflict));
        }
        if !step.skipped.is_subset(&table.parked_streams) {
            return Err(fault(Cause::Conflict));
        }
        // PostgreSQL refuses NUL characters in text, so this store does too.
        if step.changes.iter().any(|change| change.row.as_ref().is_some_and(|row| row.contains("\\u0000"))) {
            return Err(fault(Cause::Corrupt));
        }
        Ok(())
    }

    fn put(&mut self, model: &Model, step: &Step) {
        let table = self.tables.entry(model.table()).or_default();
        table.checkpoints.extend(step.moves.iter().map(|(_, to)| (to.lane, *to)));
        table.parked.extend(step.parked.iter().cloned());
        table.parked_streams.extend(step.parked_streams.iter().map(|parked| parked.place.clone()));
        for change in &step.changes {
            match &change.row {
                Some(row) => table.rows.insert(change.place.clone(), row.clone()),
                None => table.rows.remove(&change.place),
            };
        }
    }
}

impl Rows for &Memory {
    fn checkpoints(&self, model: &Model) -> impl Future<Output = Result<Vec<Checkpoint>, Fault>> + Send {
        let state = self.state();
        let table = state.tables.get(&model.table());
        ready(Ok(table.map(|table| table.checkpoints.values().copied().collect()).unwrap_or_default()))
    }

    fn parked_streams(&self, model: &Model) -> impl Future<Output = Result<BTreeSet<StreamPlace>, Fault>> + Send {
        let state = self.state();
        let table = state.tables.get(&model.table());
        ready(Ok(table.map(|table| table.parked_streams.clone()).unwrap_or_default()))
    }

    fn load(
        &self,
        wanted: &[(Arc<Model>, Vec<Place>)],
    ) -> impl Future<Output = Result<Vec<Vec<LoadedRow>>, Fault>> + Send {
        let state = self.state();
        ready(Ok(wanted.iter().map(|(model, places)| state.load(model, places)).collect()))
    }

    fn put(&self, steps: &[(Arc<Model>, Step)]) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(self.state().put_all(steps))
    }
}

impl HistoryScan for &Memory {
    fn scan(
        &self,
        lane: i16,
        (after, upto): (i64, i64),
        streams: &[&str],
    ) -> impl Future<Output = Result<Vec<RawEvent>, Fault>> + Send {
        let mut state = self.state();
        let events = state.events.get(&lane).into_iter().flatten();
        let events = events.filter(|event| (after + 1..=upto).contains(&event.position));
        let events: Vec<_> = events.filter(|event| streams.contains(&&*event.stream_type)).cloned().collect();
        state.scanned += events.len();
        ready(Ok(events))
    }

    fn count(&self, lane: i16, (after, upto): (i64, i64)) -> impl Future<Output = Result<i64, Fault>> + Send {
        let state = self.state();
        let events = state.events.get(&lane).into_iter().flatten();
        let count = events.filter(|event| (after + 1..=upto).contains(&event.position)).count();
        ready(Ok(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

impl History for &Memory {
    fn events(&self, lane: i16, after: i64, most: usize) -> impl Future<Output = Result<Vec<RawEvent>, Fault>> + Send {
        let state = self.state();
        let events = state.events.get(&lane).into_iter().flatten();
        ready(Ok(events.filter(|event| event.position > after).take(most).cloned().collect()))
    }

    fn heads(&self) -> impl Future<Output = Result<Vec<Checkpoint>, Fault>> + Send {
        let head = |event: &RawEvent| Checkpoint { lane: event.lane, position: event.position, epoch: event.epoch };
        ready(Ok(self.state().events.values().filter_map(|events| events.last().map(head)).collect()))
    }

    fn epochs(&self, lane: i16) -> impl Future<Output = Result<Epochs, Fault>> + Send {
        ready(Ok(Epochs::new(self.state().epochs.get(&lane).cloned().unwrap_or_default())))
    }
}
