//! One model's way through the lanes. Pure: it says what to take and what is wrong, and stores nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::What;
use crate::kernel::{Fold, Model};
use crate::ports::{Checkpoint, Epochs, RawEvent};

/// How far one model has come in each lane, and in which lanes it does not go on.
pub(super) struct Course {
    model: Arc<Model>,
    checkpoints: BTreeMap<i16, Checkpoint>,
    stopped: BTreeSet<i16>,
}

/// What a batch means for one model.
#[derive(Default)]
pub(super) struct Read {
    /// The lanes in which it goes on, from where to where.
    pub(super) moves: Vec<(Checkpoint, Checkpoint)>,
    pub(super) troubles: Vec<What>,
}

impl Course {
    pub(super) fn new(model: Model, checkpoints: Vec<Checkpoint>) -> Self {
        let mut course = Self { model: Arc::new(model), checkpoints: BTreeMap::new(), stopped: BTreeSet::new() };
        course.go_to(checkpoints);
        course
    }

    pub(super) fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Whether the model listens to any of these kinds of streams.
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

    pub(super) fn go_to(&mut self, checkpoints: Vec<Checkpoint>) {
        self.checkpoints = checkpoints.into_iter().map(|at| (at.lane, at)).collect();
    }

    pub(super) fn moved(&mut self, moves: &[(Checkpoint, Checkpoint)]) {
        self.checkpoints.extend(moves.iter().map(|(_, to)| (to.lane, *to)));
    }

    /// Remembers what does not pass by itself; a hole is filled from the log.
    pub(super) fn stop(&mut self, troubles: &[What]) {
        self.stopped.extend(troubles.iter().filter_map(|what| match what {
            What::OtherHistory { lane, .. } | What::Unreadable { lane, .. } => Some(*lane),
            What::Hole { .. } | What::Fault(_) => None,
        }));
    }

    /// Reads the events that are next for this model into the fold, lane by lane until something is wrong there.
    pub(super) fn read(&self, events: &[RawEvent], epochs: &BTreeMap<i16, Epochs>, fold: &mut dyn Fold) -> Read {
        let mut read = Read::default();
        let mut lanes: BTreeMap<i16, Checkpoint> = self.checkpoints.clone();
        lanes.retain(|lane, _| !self.stopped.contains(lane));
        let unknown = Epochs::default();
        for event in events {
            let Some(at) = lanes.get_mut(&event.lane) else { continue };
            match next(*at, event, epochs.get(&event.lane).unwrap_or(&unknown), fold) {
                Ok(to) => *at = to,
                Err(what) => {
                    self.note_move(event.lane, &mut lanes, &mut read);
                    read.troubles.push(what);
                }
            }
        }
        while let Some((lane, _)) = lanes.first_key_value() {
            self.note_move(*lane, &mut lanes, &mut read);
        }
        read
    }

    /// Closes a lane for this batch.
    fn note_move(&self, lane: i16, lanes: &mut BTreeMap<i16, Checkpoint>, read: &mut Read) {
        if let (Some(to), Some(from)) = (lanes.remove(&lane), self.checkpoints.get(&lane))
            && to != *from
        {
            read.moves.push((*from, to));
        }
    }
}

/// Where the model stands after this event, or why it cannot have it.
fn next(at: Checkpoint, event: &RawEvent, epochs: &Epochs, fold: &mut dyn Fold) -> Result<Checkpoint, What> {
    let (lane, position) = (event.lane, event.position);
    if event.epoch != at.epoch && !epochs.agrees(at.position, at.epoch) {
        return Err(What::OtherHistory { lane, common: epochs.last_common(at) });
    }
    if position <= at.position {
        return Ok(at);
    }
    // A record of a lost history counts as missing: the log has another one in its place.
    if position > at.position + 1 || (event.epoch != at.epoch && !epochs.agrees(position, event.epoch)) {
        return Err(What::Hole { lane, after: at.position });
    }
    let stream_type = || event.stream_type.to_string();
    fold.read(event).map_err(|unreadable| What::Unreadable {
        lane,
        position,
        stream_type: stream_type(),
        unreadable,
    })?;
    Ok(Checkpoint { lane, position, epoch: event.epoch })
}
