//! Build of one table: the fold of one model in a scan that it shares with other models.

use std::collections::{BTreeMap, BTreeSet};

use projections::kernel::{Fold, Model};
use projections::ports::{Checkpoint, Fault, ParkedStream, RawEvent, StreamPlace};

use super::{BuildState, Part, RebuildSummary, TableBuilder};

pub(super) struct Build<'b> {
    model: &'b Model,
    fold: Box<dyn Fold>,
    /// Checkpoints up to which events were folded.
    at: BTreeMap<i16, Checkpoint>,
    /// True once rows were written. From then on, a row that is not in memory may exist in the new table.
    has_written: bool,
    parked_streams: BTreeSet<StreamPlace>,
    /// Parked events that are not written yet.
    unwritten: Part,
    summary: RebuildSummary,
}

impl<'b> Build<'b> {
    pub(super) fn new(model: &'b Model, state: BuildState) -> Self {
        let summary = RebuildSummary {
            model: model.name.clone(),
            events: 0,
            rows: 0,
            parked: Vec::new(),
            parked_streams: Vec::new(),
            at: Vec::new(),
        };
        Self {
            model,
            fold: model.begin_fold(),
            has_written: !state.at.is_empty(),
            at: state.at.into_iter().map(|at| (at.lane, at)).collect(),
            parked_streams: state.parked_streams,
            unwritten: Part::default(),
            summary,
        }
    }

    /// Adds a lane, so that the table gets a checkpoint in it even if it has no events.
    pub(super) fn follow(&mut self, lane: i16) {
        self.at.entry(lane).or_insert(Checkpoint::start(lane));
    }

    /// Position up to which the events of a lane were folded.
    pub(super) fn after(&self, lane: i16) -> i64 {
        self.at.get(&lane).map_or(0, |at| at.position)
    }

    /// Number of rows in memory.
    pub(super) fn rows(&self) -> usize {
        self.fold.len()
    }

    /// Queues an event, unless it was folded before or its stream is parked.
    pub(super) fn read(&mut self, event: &RawEvent) {
        if event.position <= self.after(event.lane) {
            return;
        }
        self.summary.events += 1;
        if !self.parked_streams.is_empty() && self.parked_streams.contains(&StreamPlace::of(event)) {
            return;
        }
        if let Err(unreadable) = self.fold.read(event) {
            let (place, reason) = (StreamPlace::of(event), unreadable.to_string());
            self.parked_streams.insert(place.clone());
            let parked = ParkedStream { place, lane: event.lane, position: event.position, reason };
            self.unwritten.parked_streams.push(parked.clone());
            self.summary.parked_streams.push(parked);
        }
    }

    /// Folds the queued events, which end at a checkpoint. Rows that an earlier write has removed from memory are loaded.
    pub(super) async fn fold(&mut self, end: Checkpoint, tables: &impl TableBuilder) -> Result<(), Fault> {
        if end.position <= self.after(end.lane) {
            return Ok(());
        }
        let places = if self.has_written { self.fold.missing() } else { Vec::new() };
        if !places.is_empty() {
            let loaded = tables.load(self.model, &places).await?;
            for (place, stored) in places.iter().zip(&loaded) {
                self.fold.supply(place, stored.row.as_deref(), stored.waiting);
            }
        }
        self.unwritten.parked.extend(self.fold.fold());
        self.at.insert(end.lane, end);
        Ok(())
    }

    /// Writes the rows in memory to the table and removes them from memory.
    pub(super) async fn write(&mut self, tables: &impl TableBuilder) -> Result<(), Fault> {
        let mut part = std::mem::take(&mut self.unwritten);
        let (changes, unwritable) = self.fold.drain();
        part.changes = changes;
        part.parked.extend(unwritable);
        part.at = self.at.values().copied().collect();
        part.is_first = !self.has_written;
        tables.fill(self.model, &part).await?;
        self.has_written = true;
        self.summary.rows += part.changes.len() as u64;
        self.summary.parked.extend(part.parked);
        Ok(())
    }

    pub(super) fn into_summary(self) -> RebuildSummary {
        RebuildSummary { at: self.at.into_values().collect(), ..self.summary }
    }
}
