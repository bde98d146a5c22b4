//! Row notices: published by the projector of this process after each commit, and received within this process.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

use api::port::Freshness;
use domain::shared::TenantId;
use projections::ports::RawEvent;
use projections::projector::ChangedRows;
use tokio::sync::broadcast;

/// Maximum number of notices that a receiver may lag behind; it misses the older ones and detects the gap by the
/// checkpoints.
const NOTICES_MOST: usize = 1_024;

/// Broadcast of row notices within the process. Without receivers, publishing costs one check of a counter.
#[derive(Clone)]
pub struct RowNotices(broadcast::Sender<Arc<RowNotice>>);

/// Message about changed rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowNotice {
    /// A batch of events was projected and committed.
    Batch(ChangeBatch),
    /// A read model was rebuilt: any of its rows may have changed.
    Rebuilt { model: String },
}

/// Changes that a batch of events made to the read models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeBatch {
    /// Per model: the checkpoints before and after, and the changed rows. A model that stopped within the batch is left
    /// out.
    pub changed: Vec<ChangedRows>,
    /// Tenant position of the last event of each tenant in the batch.
    pub tenants: HashMap<TenantId, Freshness>,
}

impl Default for RowNotices {
    fn default() -> Self {
        Self(broadcast::Sender::new(NOTICES_MOST))
    }
}

impl RowNotices {
    /// Receives all notices from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<RowNotice>> {
        self.0.subscribe()
    }

    /// Publishes the changes made by these events, which are in order within each lane.
    pub(crate) fn publish_batch<E: Borrow<RawEvent>>(&self, events: &[E], changed: Vec<ChangedRows>) {
        if self.0.receiver_count() > 0 {
            // Sending fails if the last receiver has gone in the meantime, which is no error.
            self.0.send(Arc::new(RowNotice::Batch(ChangeBatch::new(events, changed)))).ok();
        }
    }

    /// Publishes that a model was rebuilt, so that any of its rows may have changed.
    pub(crate) fn publish_rebuilt(&self, model: &str) {
        self.0.send(Arc::new(RowNotice::Rebuilt { model: model.into() })).ok();
    }
}

impl ChangeBatch {
    fn new<E: Borrow<RawEvent>>(events: &[E], mut changed: Vec<ChangedRows>) -> Self {
        let events = || events.iter().map(Borrow::borrow);
        let ends: HashMap<i16, i64> = events().map(|event| (event.lane, event.position)).collect();
        let freshness = |event: &RawEvent| Freshness { tenant_position: event.tenant_position, epoch: event.epoch };
        let tenants = events().map(|event| (event.tenant, freshness(event))).collect();
        // A model that stopped within the batch has not reached the tenant positions of the batch.
        changed.retain(|changed| changed.moves.iter().all(|(_, to)| ends.get(&to.lane) == Some(&to.position)));
        Self { changed, tenants }
    }
}

#[cfg(test)]
mod tests {
    use domain::inventory::{StockEvent, StockItem};
    use domain::shared::{ProductId, StoreId};
    use projections::ports::Checkpoint;
    use projections::testing::{EPOCH, Story};
    use uuid::Uuid;

    use super::*;

    fn changed(model: &str, to: i64) -> ChangedRows {
        let at = |position| Checkpoint { lane: 0, position, epoch: EPOCH };
        ChangedRows { model: model.into(), moves: vec![(at(0), at(to))], rows: Vec::new() }
    }

    #[test]
    fn notice_leaves_out_a_model_that_stopped_within_the_batch() {
        let (product, store) = (ProductId::new(Uuid::from_u128(7)), StoreId::new(Uuid::from_u128(8)));
        let opened = || StockEvent::Opened { product, store };
        let item = StockItem::id(product, store);
        let story = Story::new().then::<StockItem>(item, opened()).then::<StockItem>(item, opened());
        let notices = RowNotices::default();
        notices.publish_batch(story.events(), vec![changed("BeforeSubscription", 2)]);

        let mut receiver = notices.subscribe();
        notices.publish_batch(story.events(), vec![changed("Whole", 2), changed("Half", 1)]);
        let tenants = HashMap::from([(story.events()[0].tenant, Freshness { tenant_position: 2, epoch: EPOCH })]);
        let expected = ChangeBatch { changed: vec![changed("Whole", 2)], tenants };
        assert_eq!(receiver.try_recv().as_deref(), Ok(&RowNotice::Batch(expected)));
        assert!(receiver.try_recv().is_err());
    }
}
