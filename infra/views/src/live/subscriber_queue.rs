//! Subscriber queue: the changes that one subscriber has not received yet, as the last value of each row.

use std::collections::{BTreeMap, HashSet};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::port::{Ended, Freshness, LiveRow, Update};
use foldhash::fast::RandomState;
use projections::kernel::Key;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Queue length in rows above which a subscriber is disconnected as too slow. It holds a few projector batches, because
/// a batch is queued as a whole before the subscriber is woken.
const QUEUED_ROWS_MOST: usize = 10_000;
/// Maximum number of rows of one update; further rows follow in the next update.
const UPDATE_ROWS_MOST: usize = 100;
/// Maximum number of rows that a subscriber holds, each of which it is sent as `gone` when it no longer matches. A
/// subscriber with more is disconnected and must narrow its filter.
const HELD_ROWS_MOST: usize = 10_000;

/// Queue of one subscription. Producers never wait for the subscriber.
pub(super) struct SubscriberQueue {
    /// Lane of the tenant.
    pub(super) lane: i16,
    /// Wakes the subscriber.
    pub(super) filled: Notify,
    state: Mutex<QueueState>,
}

/// A row as of one position of its lane.
#[derive(Clone)]
pub(super) struct RowVersion {
    pub(super) key: Key,
    /// None if the row was deleted.
    pub(super) row: Option<Arc<LiveRow>>,
    pub(super) position: i64,
    pub(super) at: Freshness,
}

/// Position in the lane, and the tenant's own position there.
type LanePosition = (i64, Freshness);

struct QueueState {
    hasher: RandomState,
    /// Initial update, until the subscriber receives it.
    initial: Option<Update>,
    /// Lane position up to which the initial update contains all changes; `None` while its rows are being read.
    initial_position: Option<i64>,
    /// Queued rows, each with the position of its last change.
    queued: BTreeMap<Key, (i64, Option<Arc<LiveRow>>)>,
    /// Time of the last [`take`](SubscriberQueue::take), or of the first change queued after it; `None` while the queue
    /// is empty.
    queued_since: Option<Instant>,
    /// Position of the batch that is being queued, of which more rows may follow.
    batch: Option<LanePosition>,
    /// Position of the last batch that is completely queued; the subscriber reaches it when the queue is empty.
    queued_up_to: LanePosition,
    /// Position up to which the subscriber has received all changes.
    delivered_up_to: Freshness,
    /// Hashes of the keys that the subscriber holds, or will hold after the queued changes. Two keys with the same
    /// 64-bit hash can cause a superfluous or a missing `gone`. `None` if rows never change, and so never cease to
    /// match.
    held: Option<HashSet<u64, RandomState>>,
    ended: Option<Ended>,
}

impl SubscriberQueue {
    /// `appends`: the model only appends rows, and a row never changes.
    pub(super) fn new(lane: i16, appends: bool) -> Self {
        let start = Freshness { tenant_position: 0, epoch: 0 };
        let state = QueueState {
            hasher: RandomState::default(),
            initial: None,
            initial_position: None,
            queued: BTreeMap::new(),
            queued_since: None,
            batch: None,
            queued_up_to: (0, start),
            delivered_up_to: start,
            held: (!appends).then(HashSet::default),
            ended: None,
        };
        Self { lane, filled: Notify::new(), state: Mutex::new(state) }
    }

    /// Sets the initial update, which was read at a position of the lane. Of the changes queued meanwhile, the newer
    /// ones are kept.
    pub(super) fn start(&self, position: i64, initial: Update) {
        let mut state = self.state();
        let QueueState { hasher, queued, held, .. } = &mut *state;
        queued.retain(|_, (at, _)| *at > position);
        if let Some(held) = held {
            held.extend(initial.rows.iter().map(|row| hasher.hash_one(&row.key)));
            queued.retain(|key, (_, row)| row.is_some() || held.contains(&hasher.hash_one(key)));
            held.extend(queued.iter().filter(|(_, (_, row))| row.is_some()).map(|(key, _)| hasher.hash_one(key)));
        }
        state.initial_position = Some(position);
        state.delivered_up_to = initial.at;
        if state.queued_up_to.0 <= position {
            state.queued_up_to = (position, initial.at);
        }
        // The subscriber could receive nothing before, so the time limit for slow subscribers begins now.
        state.queued_since = (!state.queued.is_empty()).then(Instant::now);
        state.initial = Some(initial);
        self.filled.notify_one();
    }

    /// Queues a row version if it matches the filter of the subscription, or if the subscriber holds the row. Returns
    /// true for the first queued row of a batch: the caller must then call [`finish_batch`](Self::finish_batch), which
    /// wakes the subscriber, after the last row.
    pub(super) fn push(&self, version: &RowVersion, matches: bool) -> bool {
        let mut state = self.state();
        if state.ended.is_some() || state.initial_position.is_some_and(|initial| version.position <= initial) {
            return false;
        }
        let hash = state.hasher.hash_one(&version.key);
        let is_started = state.initial_position.is_some();
        let relevant = match (matches, &mut state.held) {
            (true, Some(held)) => {
                held.insert(hash);
                true
            }
            (matches, None) => matches,
            // Before the start it is unknown whether the initial update will contain the row.
            (false, Some(held)) => held.remove(&hash) || !is_started,
        };
        if !relevant {
            return false;
        }
        let row = version.row.clone().filter(|_| matches);
        state.queued.insert(version.key.clone(), (version.position, row));
        state.queued_since.get_or_insert_with(Instant::now);
        let is_first = state.batch.replace((version.position, version.at)).is_none();
        if state.queued.len() > QUEUED_ROWS_MOST {
            state.end(Ended::TooSlow);
        } else if state.held.as_ref().is_some_and(|held| held.len() > HELD_ROWS_MOST) {
            state.end(Ended::TooManyRows);
        }
        is_first
    }

    /// Marks the batch as completely queued and wakes the subscriber.
    pub(super) fn finish_batch(&self) {
        let mut state = self.state();
        if let Some(batch) = state.batch.take().filter(|batch| batch.0 > state.queued_up_to.0) {
            state.queued_up_to = batch;
            if state.initial_position.is_some() && state.queued.is_empty() {
                state.delivered_up_to = batch.1;
            }
        }
        self.filled.notify_one();
    }

    /// Disconnects the subscriber.
    pub(super) fn end(&self, reason: Ended) {
        self.state().end(reason);
        self.filled.notify_one();
    }

    /// True if changes have waited since before this time and the subscriber has taken none meanwhile.
    pub(super) fn queued_before(&self, time: Instant) -> bool {
        self.state().queued_since.is_some_and(|since| since < time)
    }

    /// Takes the next update; `None` if there is none, or if the initial update is not set yet.
    pub(super) fn take(&self) -> Option<Result<Update, Ended>> {
        let mut state = self.state();
        if let Some(reason) = state.ended {
            return Some(Err(reason));
        }
        if let Some(initial) = state.initial.take() {
            return Some(Ok(initial));
        }
        if state.initial_position.is_none() || state.queued.is_empty() {
            return None;
        }
        let (mut rows, mut gone) = (Vec::new(), Vec::new());
        while rows.len() + gone.len() < UPDATE_ROWS_MOST
            && let Some((key, (_, row))) = state.queued.pop_first()
        {
            match row {
                Some(row) => rows.push(row),
                None => gone.push(key),
            }
        }
        state.queued_since = (!state.queued.is_empty()).then(Instant::now);
        if state.queued.is_empty() {
            state.delivered_up_to = state.queued_up_to.1;
        }
        Some(Ok(Update { rows, gone, more: false, at: state.delivered_up_to }))
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl QueueState {
    fn end(&mut self, reason: Ended) {
        self.ended.get_or_insert(reason);
        self.initial = None;
        self.queued.clear();
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn queue() -> SubscriberQueue {
        SubscriberQueue::new(0, false)
    }

    /// Queues a row for a subscriber with the filter "available at most 5".
    fn push_row(queue: &SubscriberQueue, version: &RowVersion) -> bool {
        let available = version.row.as_ref().and_then(|row| row.json["available"].as_i64());
        queue.push(version, available.is_some_and(|available| available <= 5))
    }

    fn at(position: i64) -> Freshness {
        Freshness { tenant_position: position, epoch: 1 }
    }

    fn key(number: i64) -> Key {
        Key::of(&[number])
    }

    fn row(number: i64, available: i64) -> Arc<LiveRow> {
        Arc::new(LiveRow::new(key(number), json!({ "available": available })))
    }

    fn version(number: i64, available: Option<i64>, position: i64) -> RowVersion {
        RowVersion { key: key(number), row: available.map(|units| row(number, units)), position, at: at(position) }
    }

    /// Queues a batch of one row.
    fn push(queue: &SubscriberQueue, version: RowVersion) {
        push_row(queue, &version);
        queue.finish_batch();
    }

    fn start(queue: &SubscriberQueue, rows: Vec<Arc<LiveRow>>, position: i64) {
        queue.start(position, Update { rows, gone: vec![], more: false, at: at(position) });
    }

    /// The next update: available units, keys that are gone, position.
    fn next_update(queue: &SubscriberQueue) -> Option<(Vec<i64>, Vec<Key>, i64)> {
        let update = queue.take()?.expect("not disconnected");
        let units = update.rows.iter().map(|row| row.json["available"].as_i64().expect("a number"));
        Some((units.collect(), update.gone, update.at.tenant_position))
    }

    #[test]
    fn slow_subscriber_gets_the_last_value_of_each_row() {
        let queue = queue();
        start(&queue, vec![row(1, 5)], 10);
        for position in 11..500 {
            push(&queue, version(1, Some(position % 5), position));
        }
        push(&queue, version(2, Some(3), 500));
        assert_eq!(next_update(&queue), Some((vec![5], vec![], 10)));
        assert_eq!(next_update(&queue), Some((vec![4, 3], vec![], 500)));
        assert_eq!(next_update(&queue), None);
    }

    #[test]
    fn changes_during_the_initial_read_are_delivered_once() {
        let queue = queue();
        push(&queue, version(1, Some(4), 10));
        push(&queue, version(2, Some(9), 11));
        push(&queue, version(3, Some(9), 11));
        push(&queue, version(4, Some(2), 11));
        assert_eq!(next_update(&queue), None);
        start(&queue, vec![row(1, 4), row(2, 5)], 10);
        assert_eq!(next_update(&queue), Some((vec![4, 5], vec![], 10)));
        assert_eq!(next_update(&queue), Some((vec![2], vec![key(2)], 11)));
    }

    #[test]
    fn gone_is_sent_only_for_rows_that_the_subscriber_holds() {
        let queue = queue();
        start(&queue, vec![row(1, 5)], 10);
        next_update(&queue);
        push(&queue, version(1, Some(6), 11));
        push(&queue, version(2, None, 11));
        assert_eq!(next_update(&queue), Some((vec![], vec![key(1)], 11)));
        push(&queue, version(1, None, 12));
        push(&queue, version(1, Some(1), 9));
        assert_eq!(next_update(&queue), None);
    }

    #[test]
    fn position_is_delivered_after_all_changes_up_to_it() {
        let queue = queue();
        start(&queue, vec![], 10);
        next_update(&queue);
        let next = || next_update(&queue).map(|(rows, _, at)| (rows.len(), at));
        (1..=150).for_each(|number| push(&queue, version(number, Some(1), 11)));
        assert_eq!([next(), next(), next()], [Some((100, 10)), Some((50, 11)), None]);

        // An update taken in the middle of a batch does not carry the position of that batch.
        assert!(push_row(&queue, &version(1, Some(2), 12)));
        assert_eq!(next(), Some((1, 11)));
        assert!(!push_row(&queue, &version(2, Some(2), 12)));
        queue.finish_batch();
        assert_eq!(next(), Some((1, 12)));
    }

    #[test]
    fn one_full_batch_does_not_disconnect_the_subscriber() {
        let queue = queue();
        start(&queue, vec![], 10);
        next_update(&queue);
        for number in 1..=2_000 {
            push_row(&queue, &version(number, Some(1), 11));
        }
        queue.finish_batch();
        let updates: Vec<_> = std::iter::from_fn(|| next_update(&queue)).collect();
        assert_eq!(updates.iter().map(|(rows, ..)| rows.len()).sum::<usize>(), 2_000);
        assert_eq!(updates.last().map(|(.., at)| *at), Some(11));
    }

    #[test]
    fn queue_and_held_rows_are_bounded() {
        let slow = queue();
        start(&slow, vec![], 0);
        (1..=10_001).for_each(|number| push(&slow, version(number, Some(1), number)));
        assert_eq!(slow.take().and_then(Result::err), Some(Ended::TooSlow));
        assert!(slow.state().queued.is_empty() && slow.state().held.is_none());

        let broad = queue();
        start(&broad, vec![], 0);
        for number in 1..=10_001 {
            push(&broad, version(number, Some(1), number));
            broad.take();
        }
        push(&broad, version(10_002, Some(1), 10_002));
        assert_eq!(broad.take().and_then(Result::err), Some(Ended::TooManyRows));

        // Rows of a ledger never change, so held keys need not be stored.
        let ledger = SubscriberQueue::new(0, true);
        start(&ledger, vec![], 0);
        for number in 1..=20_000 {
            push(&ledger, version(number, Some(1), number));
            assert!(ledger.take().is_some_and(|update| update.is_ok()));
        }
    }
}
