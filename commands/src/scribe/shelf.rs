//! The states in memory. They include the effects of every decision so far, committed or not.

use domain::shared::TenantId;

use super::generations::Generations;
use super::ids::{BatchId, StreamKey};
use crate::kernel::{Shelf, State, StreamRef};

/// What an entry costs beside its state.
const ENTRY_BYTES: usize = 256;
/// Short streams are folded faster than a snapshot is read.
const SNAPSHOT_BYTES_LEAST: usize = 2 * 1024;
/// A snapshot is written when the events since the last one are longer than so many times that snapshot.
const TAIL_PER_SNAPSHOT: usize = 4;

pub(super) struct States {
    memory: Generations<StreamKey, Entry>,
}

pub(super) struct Entry {
    pub(super) state: Box<dyn State>,
    pub(super) sequence: i64,
    snapshot_bytes: usize,
    tail_bytes: usize,
    /// The last batch that changed it; it must not be forgotten before that batch has an outcome.
    batch: BatchId,
}

/// A stream as it was read from the store.
pub struct LoadedState {
    pub state: Box<dyn State>,
    /// The number of its last event; 0 where it has none.
    pub sequence: i64,
    /// Bytes of the snapshot it was folded from, and of the events after it.
    pub snapshot_bytes: usize,
    pub tail_bytes: usize,
}

impl Entry {
    fn weight(&self) -> usize {
        ENTRY_BYTES.saturating_add(self.snapshot_bytes).saturating_add(self.tail_bytes)
    }

    /// Notes that events were taken in. Says whether a snapshot is due.
    pub(super) fn took(&mut self, events: i64, bytes: usize, batch: BatchId) -> bool {
        self.sequence = self.sequence.saturating_add(events);
        self.tail_bytes = self.tail_bytes.saturating_add(bytes);
        self.batch = batch;
        self.tail_bytes > self.snapshot_bytes.max(SNAPSHOT_BYTES_LEAST).saturating_mul(TAIL_PER_SNAPSHOT)
    }

    pub(super) fn snapshotted(&mut self, bytes: usize) {
        self.snapshot_bytes = bytes;
        self.tail_bytes = 0;
    }
}

impl States {
    pub(super) fn new(bytes_most: usize) -> Self {
        Self { memory: Generations::new(bytes_most) }
    }

    pub(super) fn contains(&self, key: &StreamKey) -> bool {
        self.memory.get(key).is_some()
    }

    pub(super) fn get(&self, key: &StreamKey) -> Option<&Entry> {
        self.memory.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &StreamKey) -> Option<&mut Entry> {
        self.memory.get_mut(key, Entry::weight)
    }

    pub(super) fn insert(&mut self, key: StreamKey, loaded: LoadedState) {
        let LoadedState { state, sequence, snapshot_bytes, tail_bytes } = loaded;
        let entry = Entry { state, sequence, snapshot_bytes, tail_bytes, batch: BatchId(0) };
        let weight = entry.weight();
        self.memory.insert(key, entry, weight);
    }

    /// Something grew by so many bytes.
    pub(super) fn grew(&mut self, bytes: usize) {
        self.memory.grow(bytes);
    }

    /// Forgets what was not used for long, if there is too much; never what an uncommitted batch has touched.
    pub(super) fn turn(&mut self, settled: BatchId) {
        self.memory.turn(|entry| entry.batch > settled);
    }

    /// Streams whose ids were made up to this moment may have been forgotten; milliseconds since 1970.
    pub(super) fn forgotten_until_ms(&self) -> i64 {
        self.memory.forgotten_until_ms()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&StreamKey) -> bool) {
        self.memory.retain(keep);
    }

    /// The shelf as the commands of one tenant see it.
    pub(super) fn of(&self, tenant: TenantId) -> TenantShelf<'_> {
        TenantShelf { states: self, tenant }
    }
}

pub(super) struct TenantShelf<'a> {
    states: &'a States,
    tenant: TenantId,
}

impl Shelf for TenantShelf<'_> {
    fn state(&self, stream: StreamRef) -> Option<&dyn State> {
        self.states.memory.get(&StreamKey { tenant: self.tenant, stream }).map(|entry| &*entry.state)
    }
}
