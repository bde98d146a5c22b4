//! Cache of aggregate states. They include the events of every decision so far, committed or not.

use domain::shared::TenantId;

use super::ids::{BatchId, StreamKey};
use super::two_generation_cache::TwoGenerationCache;
use crate::kernel::{State, StateLookup, StreamRef};

/// Estimated memory of an entry beside its state.
const ENTRY_BYTES: usize = 256;
/// Size assumed for a smaller snapshot or for none, so that short streams, which are folded fast, get no snapshot.
const SNAPSHOT_BYTES_LEAST: usize = 2 * 1024;
/// A snapshot is due when the events since the last one have more than this many times its bytes.
const TAIL_PER_SNAPSHOT: usize = 4;

pub(super) struct StateCache {
    cache: TwoGenerationCache<StreamKey, CachedState>,
}

pub(super) struct CachedState {
    pub(super) state: Box<dyn State>,
    /// Sequence number of the last event.
    pub(super) sequence: i64,
    /// Bytes of the last snapshot.
    snapshot_bytes: usize,
    /// Bytes of the events after the last snapshot.
    tail_bytes: usize,
    /// The last batch that changed the state. The state stays in memory until that batch has an outcome.
    batch: BatchId,
}

/// A stream as read from the store.
pub struct LoadedState {
    pub state: Box<dyn State>,
    /// Sequence number of the last event; 0 for a stream without events.
    pub sequence: i64,
    /// Bytes of the snapshot that the state was folded from.
    pub snapshot_bytes: usize,
    /// Bytes of the events after the snapshot.
    pub tail_bytes: usize,
}

impl LoadedState {
    /// A stream without events.
    pub(super) fn empty(state: Box<dyn State>) -> Self {
        Self { state, sequence: 0, snapshot_bytes: 0, tail_bytes: 0 }
    }
}

impl CachedState {
    fn weight(&self) -> usize {
        ENTRY_BYTES.saturating_add(self.snapshot_bytes).saturating_add(self.tail_bytes)
    }

    /// Counts new events of a batch. Returns true if a snapshot is due.
    pub(super) fn count_events(&mut self, events: i64, bytes: usize, batch: BatchId) -> bool {
        self.sequence = self.sequence.saturating_add(events);
        self.tail_bytes = self.tail_bytes.saturating_add(bytes);
        self.batch = batch;
        self.tail_bytes > self.snapshot_bytes.max(SNAPSHOT_BYTES_LEAST).saturating_mul(TAIL_PER_SNAPSHOT)
    }

    pub(super) fn count_snapshot(&mut self, bytes: usize) {
        self.snapshot_bytes = bytes;
        self.tail_bytes = 0;
    }
}

impl StateCache {
    pub(super) fn new(bytes_most: usize) -> Self {
        Self { cache: TwoGenerationCache::new(bytes_most) }
    }

    pub(super) fn contains(&self, key: &StreamKey) -> bool {
        self.cache.get(key).is_some()
    }

    pub(super) fn get(&self, key: &StreamKey) -> Option<&CachedState> {
        self.cache.get(key)
    }

    /// Finds a state and marks it as used.
    pub(super) fn get_mut(&mut self, key: &StreamKey) -> Option<&mut CachedState> {
        self.cache.get_mut(key, CachedState::weight)
    }

    /// Marks the states that a decision has read as used, so that states that every order reads and none writes stay.
    pub(super) fn mark_used(&mut self, tenant: TenantId, streams: &[StreamRef]) {
        for stream in streams {
            self.cache.promote(&StreamKey { tenant, stream: *stream }, CachedState::weight);
        }
    }

    pub(super) fn insert(&mut self, key: StreamKey, loaded: LoadedState) {
        let LoadedState { state, sequence, snapshot_bytes, tail_bytes } = loaded;
        let entry = CachedState { state, sequence, snapshot_bytes, tail_bytes, batch: BatchId::BEFORE_FIRST };
        let weight = entry.weight();
        self.cache.insert_weighted(key, entry, weight);
    }

    /// Adds the bytes by which a state has grown.
    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.cache.add_weight(bytes);
    }

    /// Forgets states not used for long if there are too many, except those changed after the last finished batch.
    pub(super) fn rotate(&mut self, last_finished: BatchId) {
        self.cache.rotate(|entry| entry.batch > last_finished);
    }

    /// Streams whose ids were created up to this moment may have been forgotten; milliseconds since 1970.
    pub(super) fn forgotten_until_ms(&self) -> i64 {
        self.cache.forgotten_until_ms()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&StreamKey) -> bool) {
        self.cache.retain(keep);
    }

    /// The states of one tenant, for the desk.
    pub(super) fn of_tenant(&self, tenant: TenantId) -> TenantStates<'_> {
        TenantStates { states: self, tenant }
    }
}

pub(super) struct TenantStates<'a> {
    states: &'a StateCache,
    tenant: TenantId,
}

impl StateLookup for TenantStates<'_> {
    fn state(&self, stream: StreamRef) -> Option<&dyn State> {
        self.states.get(&StreamKey { tenant: self.tenant, stream }).map(|entry| &*entry.state)
    }
}
