//! Low-stock alerts (INV-04). Invariant: an alert is open while no more units than the threshold are available, and is
//! raised once for each fall.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::{Permission, StockItemId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Last low-stock alert of one stock item: the available units fell to the threshold or below. An item whose threshold
/// was set is listed before its first alert, too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LowStockAlert {
    /// Stock item: one product in one store.
    pub stock_item: StockItemId,
    /// True until more units than the threshold are available again.
    pub open: bool,
    /// Number of alerts of the item so far.
    pub alerts: i64,
    /// Available units when the last alert was raised.
    pub available: i64,
    /// Threshold of the item.
    pub low_at: i64,
    /// Time at which it was raised.
    pub raised_at: Option<Timestamp>,
    /// Time at which it was cleared.
    pub cleared_at: Option<Timestamp>,
}

impl ReadModel for LowStockAlert {
    const NEEDS: Permission = Permission::SeeStock;
    const KEY: &'static [&'static str] = &["stock_item"];
    const INDEXED: &'static [&'static str] = &["open", "raised_at"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<StockItem>(|event| is_about_alerts(&event.event).then(|| key![event.stream]), Self::on_stock);
    }
}

impl LowStockAlert {
    fn on_stock(row: Option<Self>, event: &Recorded<StockEvent>) -> Folded<Self> {
        let row = row.unwrap_or_else(|| Self::new(event));
        Ok(match event.event {
            StockEvent::ThresholdSet { low_at } => Some(Self { low_at: low_at.get(), ..row }),
            StockEvent::LowReached { available, low_at } => {
                Some(Self { low_at: low_at.get(), ..row }.raised(available, event.occurred_at))
            }
            StockEvent::Depleted {} => Some(row.raised(0, event.occurred_at)),
            // Units are back in stock, but not enough of them.
            StockEvent::Restored { available } if available <= row.low_at => Some(row),
            StockEvent::Restored { .. } | StockEvent::Recovered { .. } => Some(row.cleared(event.occurred_at)),
            StockEvent::Closed {} => None,
            _ => Some(row),
        })
    }

    fn new(event: &Recorded<StockEvent>) -> Self {
        Self {
            stock_item: StockItemId::new(event.stream),
            open: false,
            alerts: 0,
            available: 0,
            low_at: 0,
            raised_at: None,
            cleared_at: None,
        }
    }

    /// Raises the alert; a fall below the threshold raises it once.
    fn raised(self, available: i64, at: Timestamp) -> Self {
        if self.open {
            return self;
        }
        let alerts = self.alerts.saturating_add(1);
        Self { open: true, alerts, available, raised_at: Some(at), cleared_at: None, ..self }
    }

    fn cleared(self, at: Timestamp) -> Self {
        if self.open { Self { open: false, cleared_at: Some(at), ..self } } else { self }
    }
}

fn is_about_alerts(event: &StockEvent) -> bool {
    matches!(
        event,
        StockEvent::ThresholdSet { .. }
            | StockEvent::LowReached { .. }
            | StockEvent::Depleted {}
            | StockEvent::Recovered { .. }
            | StockEvent::Restored { .. }
            | StockEvent::Closed {}
    )
}

#[cfg(test)]
mod tests {
    use domain::shared::Units;

    use super::super::stock_level::tests::{item, stocked};
    use super::*;
    use crate::testing::Story;

    fn low(story: Story, available: i64) -> Story {
        let low_at = Units::try_from(5).expect("units");
        story.then::<StockItem>(item(), StockEvent::LowReached { available, low_at })
    }

    #[test]
    fn alert_is_open_until_the_item_recovers() {
        let row: LowStockAlert = low(stocked(), 5).row();
        assert_eq!((row.open, row.alerts, row.available, row.low_at), (true, 1, 5, 5));
        assert_eq!((row.raised_at, row.cleared_at), (Some(Story::at(4)), None));

        let recovered = low(stocked(), 5).then::<StockItem>(item(), StockEvent::Recovered { available: 6 });
        let row: LowStockAlert = recovered.row();
        assert_eq!((row.open, row.cleared_at), (false, Some(Story::at(5))));

        let again: LowStockAlert = low(recovered, 4).row();
        assert_eq!((again.open, again.alerts, again.cleared_at), (true, 2, None));
    }

    #[test]
    fn alert_stays_one_while_the_item_is_sold_out_in_between() {
        let out = low(stocked(), 2).then::<StockItem>(item(), StockEvent::Depleted {});
        let back = low(out.then::<StockItem>(item(), StockEvent::Restored { available: 3 }), 3);
        let row: LowStockAlert = back.row();
        assert_eq!((row.open, row.alerts, row.available), (true, 1, 2));
        let full: LowStockAlert = back.then::<StockItem>(item(), StockEvent::Recovered { available: 9 }).row();
        assert!(!full.open);
    }

    #[test]
    fn item_that_sells_out_at_once_raises_an_alert() {
        let out = stocked().then::<StockItem>(item(), StockEvent::Depleted {});
        let row: LowStockAlert = out.row();
        assert_eq!((row.open, row.alerts, row.available, row.low_at), (true, 1, 0, 5));
        let restored: LowStockAlert = out.then::<StockItem>(item(), StockEvent::Restored { available: 9 }).row();
        assert!(!restored.open);
    }
}
