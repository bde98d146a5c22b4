//! What the projector of this process has just changed, for whoever listens within the process.

use std::collections::HashMap;
use std::sync::Arc;

use api::port::Freshness;
use domain::shared::TenantId;
use projections::ports::RawEvent;
use projections::projector::ChangedRows;
use tokio::sync::broadcast;

/// Batches that a listener may be behind; one that is further behind is told that it missed some, and looks at the
/// checkpoints.
const BATCHES_MOST: usize = 256;

/// Where the projector tells what it changed. Where nobody listens, telling costs a look at a counter.
#[derive(Clone)]
pub struct Changes(broadcast::Sender<Arc<News>>);

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A batch was taken and is committed.
    Taken(Batch),
    /// A read model was built anew: any row of it may be another one now.
    Rebuilt { model: String },
}

/// What a batch of events did to the read models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Model by model, from where to where and which rows. A model that stopped on the way is left out.
    pub changed: Vec<ChangedRows>,
    /// The last position of each tenant in the batch, as tenants see positions.
    pub tenants: HashMap<TenantId, Freshness>,
}

impl Default for Changes {
    fn default() -> Self {
        Self(broadcast::Sender::new(BATCHES_MOST))
    }
}

impl Changes {
    /// Everything that is told from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<News>> {
        self.0.subscribe()
    }

    /// Tells what a batch of these events, in order within each lane, did.
    pub(crate) fn tell(&self, events: &[RawEvent], changed: Vec<ChangedRows>) {
        if self.0.receiver_count() > 0 {
            // Whoever listened has gone meanwhile; that is no fault.
            self.0.send(Arc::new(News::Taken(Batch::new(events, changed)))).ok();
        }
    }

    /// Tells that nothing said about a model before can be built upon.
    pub(crate) fn tell_rebuilt(&self, model: &str) {
        self.0.send(Arc::new(News::Rebuilt { model: model.into() })).ok();
    }
}

impl Batch {
    fn new(events: &[RawEvent], mut changed: Vec<ChangedRows>) -> Self {
        let ends: HashMap<i16, i64> = events.iter().map(|event| (event.lane, event.position)).collect();
        let position = |event: &RawEvent| Freshness { tenant_position: event.tenant_position, epoch: event.epoch };
        let tenants = events.iter().map(|event| (event.tenant, position(event))).collect();
        // Of a model that stopped half way it cannot be said how far each tenant has come.
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
    fn a_model_that_stopped_half_way_is_not_told() {
        let (product, store) = (ProductId::new(Uuid::from_u128(7)), StoreId::new(Uuid::from_u128(8)));
        let opened = || StockEvent::Opened { product, store };
        let item = StockItem::id(product, store);
        let story = Story::new().then::<StockItem>(item, opened()).then::<StockItem>(item, opened());
        let changes = Changes::default();
        changes.tell(story.events(), vec![changed("Unheard", 2)]);

        let mut heard = changes.subscribe();
        changes.tell(story.events(), vec![changed("Whole", 2), changed("Half", 1)]);
        let tenants = HashMap::from([(story.events()[0].tenant, Freshness { tenant_position: 2, epoch: EPOCH })]);
        let told = Batch { changed: vec![changed("Whole", 2)], tenants };
        assert_eq!(heard.try_recv().as_deref(), Ok(&News::Taken(told)));
        assert!(heard.try_recv().is_err());
    }
}
