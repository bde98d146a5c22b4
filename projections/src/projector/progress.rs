//! Progress of one model in each lane: decides which events are next. It does no I/O.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ProjectionErrorKind;
use crate::kernel::{Fold, Model};
use crate::ports::{Checkpoint, Epochs, Fault, ParkedStream, RawEvent, StreamPlace};

/// Checkpoints of one model, one per lane, and the lanes in which it is stopped.
pub(super) struct Progress {
    model: Arc<Model>,
    checkpoints: BTreeMap<i16, Checkpoint>,
    stopped: BTreeSet<i16>,
    /// Streams with an event that cannot be decoded.
    parked: BTreeSet<StreamPlace>,
    /// Number of batches in a row that failed, and the last error.
    failures: u32,
    fault: String,
}

/// Number of failed batches in a row after which a model leaves its group.
const FAILURES_MOST: u32 = 2;

/// Result of reading a batch for one model.
#[derive(Default)]
pub(super) struct BatchRead {
    /// Checkpoints before and after, for each lane that advances.
    pub(super) moves: Vec<(Checkpoint, Checkpoint)>,
    pub(super) errors: Vec<ProjectionErrorKind>,
    /// Streams with an event of the batch that cannot be decoded.
    pub(super) parked_streams: Vec<ParkedStream>,
    /// Streams that were parked before and have events in the batch.
    pub(super) skipped: BTreeSet<StreamPlace>,
}

impl Progress {
    pub(super) fn new(model: Model, checkpoints: Vec<Checkpoint>, parked: BTreeSet<StreamPlace>) -> Self {
        let mut progress = Self {
            model: Arc::new(model),
            checkpoints: BTreeMap::new(),
            stopped: BTreeSet::new(),
            parked: BTreeSet::new(),
            failures: 0,
            fault: String::new(),
        };
        progress.reset(checkpoints, parked);
        progress
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Position after which this model needs events; `None` if it does not follow the lane or is stopped in it.
    pub(super) fn after(&self, lane: i16) -> Option<i64> {
        self.checkpoints.get(&lane).filter(|_| !self.stopped.contains(&lane)).map(|at| at.position)
    }

    pub(super) fn record_failure(&mut self, fault: &Fault) {
        self.failures = self.failures.saturating_add(1);
        self.fault = match &fault.source {
            Some(source) => format!("{fault}: {source}"),
            None => fault.to_string(),
        };
    }

    pub(super) fn record_success(&mut self) {
        self.failures = 0;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// The last error of the model if it has failed repeatedly.
    pub(super) fn failing(&self) -> Option<&str> {
        (self.failures >= FAILURES_MOST).then_some(self.fault.as_str())
    }

    pub(super) fn stopped(&self) -> impl Iterator<Item = i16> {
        self.stopped.iter().copied()
    }

    pub(super) fn reset(&mut self, checkpoints: Vec<Checkpoint>, parked: BTreeSet<StreamPlace>) {
        self.checkpoints = checkpoints.into_iter().map(|at| (at.lane, at)).collect();
        self.parked = parked;
    }

    /// Records the streams that were stored as parked.
    pub(super) fn park(&mut self, streams: &[ParkedStream]) {
        self.parked.extend(streams.iter().map(|parked| parked.place.clone()));
    }

    pub(super) fn advance(&mut self, moves: &[(Checkpoint, Checkpoint)]) {
        self.checkpoints.extend(moves.iter().map(|(_, to)| (to.lane, *to)));
    }

    /// Stops the model in lanes whose errors need an operator. A gap is filled from the log, and a fault is retried.
    pub(super) fn stop(&mut self, errors: &[ProjectionErrorKind]) {
        self.stopped.extend(errors.iter().filter_map(|kind| match kind {
            ProjectionErrorKind::OtherHistory { lane, .. } => Some(*lane),
            ProjectionErrorKind::Gap { .. } | ProjectionErrorKind::Fault(_) => None,
        }));
    }

    /// Reads the events that are next for this model into the fold, in each lane up to the first error. A stream with an
    /// event that cannot be decoded is parked.
    pub(super) fn read<E: Borrow<RawEvent>>(
        &self,
        events: &[E],
        epochs: &BTreeMap<i16, Epochs>,
        fold: &mut dyn Fold,
    ) -> BatchRead {
        let mut read = BatchRead::default();
        let mut lanes: BTreeMap<i16, Checkpoint> = self.checkpoints.clone();
        lanes.retain(|lane, _| !self.stopped.contains(lane));
        let unknown = Epochs::default();
        for event in events.iter().map(Borrow::borrow) {
            let Some(at) = lanes.get_mut(&event.lane) else { continue };
            match next_checkpoint(*at, event, epochs.get(&event.lane).unwrap_or(&unknown)) {
                Ok(None) => {}
                Ok(Some(to)) => {
                    *at = to;
                    self.fold_or_park(event, fold, &mut read);
                }
                Err(kind) => {
                    self.end_lane(event.lane, &mut lanes, &mut read);
                    read.errors.push(kind);
                }
            }
        }
        while let Some((lane, _)) = lanes.first_key_value() {
            self.end_lane(*lane, &mut lanes, &mut read);
        }
        read
    }

    /// Reads an event into the fold, unless its stream is parked or has to be parked at this event.
    fn fold_or_park(&self, event: &RawEvent, fold: &mut dyn Fold, read: &mut BatchRead) {
        if !self.parked.is_empty() || !read.parked_streams.is_empty() {
            let place = StreamPlace::of(event);
            if self.parked.contains(&place) {
                read.skipped.insert(place);
                return;
            }
            if read.parked_streams.iter().any(|parked| parked.place == place) {
                return;
            }
        }
        if let Err(unreadable) = fold.read(event) {
            let (lane, position) = (event.lane, event.position);
            let parked = ParkedStream { place: StreamPlace::of(event), lane, position, reason: unreadable.to_string() };
            read.parked_streams.push(parked);
        }
    }

    /// Ends a lane for this batch and records its move if it advanced.
    fn end_lane(&self, lane: i16, lanes: &mut BTreeMap<i16, Checkpoint>, read: &mut BatchRead) {
        if let (Some(to), Some(from)) = (lanes.remove(&lane), self.checkpoints.get(&lane))
            && to != *from
        {
            read.moves.push((*from, to));
        }
    }
}

/// The checkpoint after an event that is the next of its lane; `None` for one that was applied before.
fn next_checkpoint(
    at: Checkpoint,
    event: &RawEvent,
    epochs: &Epochs,
) -> Result<Option<Checkpoint>, ProjectionErrorKind> {
    let (lane, position) = (event.lane, event.position);
    if event.epoch != at.epoch && !epochs.agrees(at.position, at.epoch) {
        return Err(ProjectionErrorKind::OtherHistory { lane, common: epochs.last_common(at) });
    }
    if position <= at.position {
        return Ok(None);
    }
    // An event of a lost history counts as a gap: the log has another event at its position.
    if position > at.position + 1 || (event.epoch != at.epoch && !epochs.agrees(position, event.epoch)) {
        return Err(ProjectionErrorKind::Gap { lane, after: at.position });
    }
    Ok(Some(Checkpoint { lane, position, epoch: event.epoch }))
}
