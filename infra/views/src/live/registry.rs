//! Subscription registry: the subscriptions of this process by topic and filter, and the progress of their lanes. A
//! changed row is decoded once for all its subscribers and evaluated once for each distinct filter.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::port::{Ended, Freshness, LiveRow, Update};
use domain::shared::TenantId;
use projections::kernel::{Change, Key, Place};
use projections::ports::Checkpoint;
use projections::query::Conditions;
use tokio::sync::watch;
use tokio::time::Instant;

use super::subscriber_queue::{RowVersion, SubscriberQueue};

/// Time after which a subscriber that does not receive its queued changes is disconnected as too slow.
const RECEIVED_WITHIN: Duration = Duration::from_secs(10);

/// Name of a read model, and the number of a lane.
pub(super) type ModelLane = (String, i16);

/// All subscriptions of this process.
pub(super) struct SubscriptionRegistry {
    state: Mutex<RegistryState>,
    /// True while the notice dispatcher is needed. Set when a subscription is added, cleared by
    /// [`stop_if_idle`](Self::stop_if_idle).
    pub(super) in_use: watch::Sender<bool>,
    /// True while the notice dispatcher receives row notices.
    receiving: watch::Sender<bool>,
}

#[derive(Default)]
struct RegistryState {
    next_id: u64,
    topics: HashMap<Topic, QueuesByFilter>,
    lanes: HashMap<ModelLane, LaneProgress>,
}

/// Queues of the subscriptions of one topic, by their filter and their id.
type QueuesByFilter = HashMap<Conditions, HashMap<u64, Arc<SubscriberQueue>>>;

/// Rows that a subscription concerns: one row of a tenant by its key, or without a key all rows of the tenant.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Topic {
    pub(super) model: String,
    pub(super) tenant: TenantId,
    pub(super) key: Option<Key>,
}

/// Progress of a read model in one lane, for all its subscriptions in this process.
#[derive(Default)]
struct LaneProgress {
    subscriptions: usize,
    /// Checkpoint up to which changes are in the subscriber queues; `None` until the first subscriber has read its
    /// initial rows.
    queued_up_to: Option<Checkpoint>,
}

/// One subscription, removed from the registry on drop.
pub(super) struct Subscription {
    registry: Arc<SubscriptionRegistry>,
    pub(super) queue: Arc<SubscriberQueue>,
    topic: Topic,
    conditions: Conditions,
    id: u64,
}

/// Relation of a row notice to the changes that were queued before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continuity {
    /// Nothing to queue: the lane has no subscription, or the changes were queued before.
    Skip,
    /// The notice continues at the queued checkpoint, or no checkpoint is set yet.
    Next,
    /// Changes between the queued checkpoint and the notice may have been missed.
    Gap,
}

impl SubscriptionRegistry {
    pub(super) fn new() -> Arc<Self> {
        let (in_use, receiving) = (watch::Sender::new(false), watch::Sender::new(false));
        Arc::new(Self { state: Mutex::default(), in_use, receiving })
    }

    /// Adds a subscription and starts the notice dispatcher. Returns when row notices are being received.
    pub(super) async fn add(
        self: &Arc<Self>,
        topic: Topic,
        conditions: Conditions,
        queue: SubscriberQueue,
    ) -> Subscription {
        let queue = Arc::new(queue);
        let subscription = {
            let mut state = self.state();
            state.next_id += 1;
            let id = state.next_id;
            let queues = state.topics.entry(topic.clone()).or_default().entry(conditions.clone()).or_default();
            queues.insert(id, Arc::clone(&queue));
            state.lanes.entry((topic.model.clone(), queue.lane)).or_default().subscriptions += 1;
            self.in_use.send_replace(true);
            Subscription { registry: Arc::clone(self), queue, topic, conditions, id }
        };
        metrics::gauge!("cartulary_live_subscriptions").increment(1);
        // Cannot fail: `self` holds the sender.
        self.receiving.subscribe().wait_for(|receiving| *receiving).await.ok();
        subscription
    }

    /// Lets waiting calls of [`add`](Self::add) return, because row notices are now being received.
    pub(super) fn set_receiving(&self) {
        self.receiving.send_replace(true);
    }

    /// Returns true if there are no subscriptions. The dispatcher must then stop receiving; the next subscription
    /// starts it again.
    pub(super) fn stop_if_idle(&self) -> bool {
        let state = self.state();
        let idle = state.lanes.is_empty();
        if idle {
            self.in_use.send_replace(false);
            self.receiving.send_replace(false);
        }
        idle
    }

    /// Sets the queued checkpoint to that of a subscriber's initial rows, unless it is set already.
    pub(super) fn start_at(&self, model_lane: ModelLane, at: Checkpoint) {
        if let Some(progress) = self.state().lanes.get_mut(&model_lane) {
            progress.queued_up_to.get_or_insert(at);
        }
    }

    /// Queued checkpoints of all lanes that have one.
    pub(super) fn queued_up_to(&self) -> Vec<(ModelLane, Checkpoint)> {
        let state = self.state();
        state
            .lanes
            .iter()
            .filter_map(|(model_lane, progress)| Some((model_lane.clone(), progress.queued_up_to?)))
            .collect()
    }

    /// Compares a notice with the queued checkpoint. While the first subscriber reads its initial rows, every notice is
    /// [`Continuity::Next`].
    pub(super) fn continuity(&self, model_lane: &ModelLane, from: Checkpoint, to: Checkpoint) -> Continuity {
        match self.state().lanes.get(model_lane).map(|progress| progress.queued_up_to) {
            None => Continuity::Skip,
            Some(None) => Continuity::Next,
            Some(Some(at)) if at == from => Continuity::Next,
            // Under another epoch a position may name another event, so only the recovery can compare them.
            Some(Some(at)) if at.epoch != to.epoch || at.position < from.position => Continuity::Gap,
            Some(Some(at)) if to.position <= at.position => Continuity::Skip,
            Some(Some(_)) => Continuity::Next,
        }
    }

    /// Moves the queued checkpoint, if one is set.
    pub(super) fn set_queued_up_to(&self, model_lane: &ModelLane, at: Checkpoint) {
        let mut state = self.state();
        if let Some(progress) = state.lanes.get_mut(model_lane).filter(|progress| progress.queued_up_to.is_some()) {
            progress.queued_up_to = Some(at);
        }
    }

    /// True if a subscription of this process concerns this row.
    pub(super) fn is_watched(&self, model: &str, place: &Place) -> bool {
        let state = self.state();
        let topic = |key| Topic { model: model.to_owned(), tenant: place.tenant, key };
        state.topics.contains_key(&topic(None)) || state.topics.contains_key(&topic(Some(place.key.clone())))
    }

    /// Tenants with a subscription to this read model in this process.
    pub(super) fn watched_tenants(&self, model: &str) -> HashSet<TenantId> {
        self.state().topics.keys().filter(|topic| topic.model == model).map(|topic| topic.tenant).collect()
    }

    /// Queues a changed row for all its subscribers. `lanes`: for each lane of the batch, the position that the batch
    /// reaches. Returns the queues that got their first row of the batch; after its last row the caller must call
    /// [`SubscriberQueue::finish_batch`] on them.
    pub(super) fn queue_change(
        &self,
        model: &str,
        change: &Change,
        lanes: &HashMap<i16, i64>,
        at: Freshness,
    ) -> Vec<Arc<SubscriberQueue>> {
        let mut topic = Topic { model: model.to_owned(), tenant: change.place.tenant, key: None };
        let state = self.state();
        let of_all_rows = state.topics.get(&topic);
        topic.key = Some(change.place.key.clone());
        let by_key = state.topics.get(&topic);
        let by_filter: Vec<_> = of_all_rows.into_iter().chain(by_key).flatten().collect();
        let queues = || by_filter.iter().flat_map(|(_, queues)| queues.values());
        // A tenant has one lane, so all queues of this row have the same one.
        let Some(position) = queues().next().and_then(|queue| lanes.get(&queue.lane)).copied() else {
            return Vec::new();
        };
        let key = change.place.key.clone();
        let row = match change.row.as_deref().map(serde_json::from_str) {
            None => None,
            Some(Ok(json)) => Some(Arc::new(LiveRow::new(key.clone(), json))),
            // The row cannot be decoded and so not be sent; a new subscription reads it from the store.
            Some(Err(_)) => {
                queues().for_each(|queue| queue.end(Ended::StartOver));
                return Vec::new();
            }
        };
        let version = RowVersion { key, row, position, at };
        let mut first_of_batch = Vec::new();
        for (conditions, queues) in by_filter {
            let matches = version.row.as_ref().is_some_and(|row| {
                metrics::counter!("cartulary_live_filter_evaluations_total").increment(1);
                conditions.matches(&row.json)
            });
            first_of_batch.extend(queues.values().filter(|queue| queue.push(&version, matches)).cloned());
        }
        first_of_batch
    }

    /// Disconnects the subscribers of a read model in one lane, or in all lanes, so that they subscribe again.
    pub(super) fn start_over(&self, model: &str, lane: Option<i16>) {
        let subscribers = self
            .end(Ended::StartOver, |topic, queue| topic.model == model && lane.is_none_or(|lane| lane == queue.lane));
        for ((name, number), progress) in &mut self.state().lanes {
            if name == model && lane.is_none_or(|lane| lane == *number) {
                progress.queued_up_to = None;
            }
        }
        tracing::info!(model, lane, subscribers, "disconnected the subscribers of a read model; they must start over");
    }

    /// Disconnects the subscribers that have not received their queued changes within [`RECEIVED_WITHIN`].
    pub(super) fn disconnect_slow(&self) {
        if let Some(time) = Instant::now().checked_sub(RECEIVED_WITHIN) {
            self.end(Ended::TooSlow, |_, queue| queue.queued_before(time));
        }
    }

    /// Disconnects the selected subscribers and returns their number.
    fn end(&self, reason: Ended, selects: impl Fn(&Topic, &SubscriberQueue) -> bool) -> usize {
        let state = self.state();
        let all = state.topics.iter().flat_map(|(topic, by_filter)| {
            by_filter.values().flat_map(HashMap::values).map(move |queue| (topic, queue))
        });
        all.filter(|(topic, queue)| selects(topic, queue)).map(|(_, queue)| queue.end(reason)).count()
    }

    fn state(&self) -> MutexGuard<'_, RegistryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscription {
    /// Waits for the next update.
    pub(super) async fn next(&self) -> Result<Update, Ended> {
        loop {
            if let Some(update) = self.queue.take() {
                return update;
            }
            self.queue.filled.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        if let Some(by_filter) = state.topics.get_mut(&self.topic) {
            if let Some(queues) = by_filter.get_mut(&self.conditions) {
                queues.remove(&self.id);
            }
            by_filter.retain(|_, queues| !queues.is_empty());
            if by_filter.is_empty() {
                state.topics.remove(&self.topic);
            }
        }
        let model_lane = (self.topic.model.clone(), self.queue.lane);
        if let Some(progress) = state.lanes.get_mut(&model_lane) {
            progress.subscriptions -= 1;
            if progress.subscriptions == 0 {
                state.lanes.remove(&model_lane);
            }
        }
        metrics::gauge!("cartulary_live_subscriptions").decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use projections::inventory::StockLevel;
    use projections::kernel::Model;
    use projections::query::{Filter, RowQuery, Test};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn notice_is_next_skipped_or_a_gap_by_the_queued_checkpoint() {
        let at = |position, epoch| Checkpoint { lane: 0, position, epoch };
        let query = RowQuery::all(TenantId::new(Uuid::from_u128(1)), 1);
        let conditions = Conditions::of(&Model::of::<StockLevel>(), &query).expect("a valid query");
        let (registry, model_lane) = (SubscriptionRegistry::new(), (String::from("StockLevel"), 0));
        let continuity = |from, to| registry.continuity(&model_lane, from, to);
        assert_eq!(continuity(at(0, 0), at(5, 1)), Continuity::Skip, "there is no subscriber");

        registry.set_receiving();
        let topic = Topic { model: model_lane.0.clone(), tenant: query.tenant, key: None };
        let _subscription = registry.add(topic, conditions, SubscriberQueue::new(0, false)).await;
        assert_eq!(continuity(at(3, 1), at(5, 1)), Continuity::Next, "the first subscriber is still reading");
        registry.start_at(model_lane.clone(), at(10, 1));
        for (from, to, expected) in [
            (at(10, 1), at(12, 1), Continuity::Next),
            (at(9, 1), at(12, 1), Continuity::Next),
            (at(8, 1), at(10, 1), Continuity::Skip),
            (at(11, 1), at(12, 1), Continuity::Gap),
            // A fail-over that lost no event, then fail-overs that lost some.
            (at(10, 1), at(12, 2), Continuity::Next),
            (at(9, 1), at(12, 2), Continuity::Gap),
            (at(7, 1), at(9, 2), Continuity::Gap),
            (at(9, 2), at(12, 2), Continuity::Gap),
        ] {
            assert_eq!(continuity(from, to), expected, "{from:?} to {to:?}");
        }
    }

    #[tokio::test]
    async fn changed_row_is_evaluated_once_for_each_distinct_filter() {
        let (registry, model) = (SubscriptionRegistry::new(), Model::of::<StockLevel>());
        let tenant = TenantId::new(Uuid::from_u128(1));
        registry.set_receiving();
        let mut subscriptions = Vec::new();
        for number in 0..1_000 {
            let filters = vec![Filter { field: "available".into(), test: Test::To((number % 3).into()) }];
            let query = RowQuery { filters, ..RowQuery::all(tenant, 1) };
            let conditions = Conditions::of(&model, &query).expect("a valid query");
            let topic = Topic { model: model.name.clone(), tenant, key: None };
            subscriptions.push(registry.add(topic, conditions, SubscriberQueue::new(0, false)).await);
        }
        let update = || Update { rows: vec![], gone: vec![], more: false, at: at(1) };
        subscriptions.iter().for_each(|subscription| subscription.queue.start(1, update()));

        let recorder = PrometheusBuilder::new().build_recorder();
        let row = json!({ "available": 1 }).to_string();
        let change = Change { place: Place { tenant, key: Key::of(&[1]) }, row: Some(row) };
        let queued = metrics::with_local_recorder(&recorder, || {
            registry.queue_change(&model.name, &change, &HashMap::from([(0, 2)]), at(2))
        });
        assert_eq!(queued.len(), 666, "the subscribers with at most one and at most two units");
        let counted = recorder.handle().render();
        assert!(counted.lines().any(|line| line == "cartulary_live_filter_evaluations_total 3"), "{counted}");

        drop(subscriptions);
        assert!(registry.state().topics.is_empty());
    }

    fn at(tenant_position: i64) -> Freshness {
        Freshness { tenant_position, epoch: 1 }
    }
}
