//! Progress of one model in each lane: decides which events are next. It does no I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ProjectionErrorKind;
use crate::kernel::{Fold, Model};
use crate::ports::{Checkpoint, Epochs, RawEvent};

/// Checkpoints of one model, one per lane, and the lanes in which it is stopped.
pub(super) struct Progress {
    model: Arc<Model>,
    checkpoints: BTreeMap<i16, Checkpoint>,
    stopped: BTreeSet<i16>,
}

/// Result of reading a batch for one model.
#[derive(Default)]
pub(super) struct BatchRead {
    /// Checkpoints before and after, for each lane that advances.
    pub(super) moves: Vec<(Checkpoint, Checkpoint)>,
    pub(super) errors: Vec<ProjectionErrorKind>,
}

impl Progress {
    pub(super) fn new(model: Model, checkpoints: Vec<Checkpoint>) -> Self {
        let mut progress = Self { model: Arc::new(model), checkpoints: BTreeMap::new(), stopped: BTreeSet::new() };
        progress.reset(checkpoints);
        progress
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// True if the model listens to one of these stream types.
    pub(super) fn listens_to(&self, types: &BTreeSet<&str>) -> bool {
        self.model.streams.iter().any(|stream_type| types.contains(stream_type))
    }

    pub(super) fn after(&self, lane: i16) -> Option<i64> {
        self.checkpoints.get(&lane).filter(|_| !self.stopped.contains(&lane)).map(|at| at.position)
    }

    pub(super) fn stopped(&self) -> impl Iterator<Item = i16> {
        self.stopped.iter().copied()
    }

    pub(super) fn resume(&mut self) {
        self.stopped.clear();
    }

    pub(super) fn reset(&mut self, checkpoints: Vec<Checkpoint>) {
        self.checkpoints = checkpoints.into_iter().map(|at| (at.lane, at)).collect();
    }

    pub(super) fn advance(&mut self, moves: &[(Checkpoint, Checkpoint)]) {
        self.checkpoints.extend(moves.iter().map(|(_, to)| (to.lane, *to)));
    }

    /// Stops the model in lanes whose errors need an operator. A gap is filled from the log, and a fault is retried.
    pub(super) fn stop(&mut self, errors: &[ProjectionErrorKind]) {
        self.stopped.extend(errors.iter().filter_map(|kind| match kind {
            ProjectionErrorKind::OtherHistory { lane, .. } | ProjectionErrorKind::Unreadable { lane, .. } => {
                Some(*lane)
            }
            ProjectionErrorKind::Gap { .. } | ProjectionErrorKind::Fault(_) => None,
        }));
    }

    /// Reads the events that are next for this model into the fold, in each lane up to the first error.
    pub(super) fn read(&self, events: &[RawEvent], epochs: &BTreeMap<i16, Epochs>, fold: &mut dyn Fold) -> BatchRead {
        let mut read = BatchRead::default();
        let mut lanes: BTreeMap<i16, Checkpoint> = self.checkpoints.clone();
        lanes.retain(|lane, _| !self.stopped.contains(lane));
        let unknown = Epochs::default();
        for event in events {
            let Some(at) = lanes.get_mut(&event.lane) else { continue };
            match read_event(*at, event, epochs.get(&event.lane).unwrap_or(&unknown), fold) {
                Ok(to) => *at = to,
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

    /// Ends a lane for this batch and records its move if it advanced.
    fn end_lane(&self, lane: i16, lanes: &mut BTreeMap<i16, Checkpoint>, read: &mut BatchRead) {
        if let (Some(to), Some(from)) = (lanes.remove(&lane), self.checkpoints.get(&lane))
            && to != *from
        {
            read.moves.push((*from, to));
        }
    }
}

/// Reads an event into the fold if it is the next of its lane; skips one that was applied before. Returns the
/// checkpoint after it.
fn read_event(
    at: Checkpoint,
    event: &RawEvent,
    epochs: &Epochs,
    fold: &mut dyn Fold,
) -> Result<Checkpoint, ProjectionErrorKind> {
    let (lane, position) = (event.lane, event.position);
    if event.epoch != at.epoch && !epochs.agrees(at.position, at.epoch) {
        return Err(ProjectionErrorKind::OtherHistory { lane, common: epochs.last_common(at) });
    }
    if position <= at.position {
        return Ok(at);
    }
    // An event of a lost history counts as a gap: the log has another event at its position.
    if position > at.position + 1 || (event.epoch != at.epoch && !epochs.agrees(position, event.epoch)) {
        return Err(ProjectionErrorKind::Gap { lane, after: at.position });
    }
    let stream_type = || event.stream_type.to_string();
    fold.read(event).map_err(|unreadable| ProjectionErrorKind::Unreadable {
        lane,
        position,
        stream_type: stream_type(),
        unreadable,
    })?;
    Ok(Checkpoint { lane, position, epoch: event.epoch })
}
