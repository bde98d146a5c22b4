//! Shortages of stock: reserved units that are missing. Invariant: missing > 0 until the shortage is resolved.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::{OrderId, Permission, Reason, StockItemId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Last shortage of one stock item: more units were reserved than were on hand. It is resolved by deliveries, by a count
/// or by the cancellation of orders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockShortage {
    /// Stock item: one product in one store.
    pub stock_item: StockItemId,
    /// Reserved units that are missing; 0 once the shortage is resolved.
    pub missing: i64,
    /// Orders for which no units are left, at most 100. Units go to paid orders first, then to the others, each in the
    /// order in which they were placed.
    pub orders: Vec<OrderId>,
    /// Reason given for the count or the correction that caused it.
    pub reason: Option<Reason>,
    /// Time at which it was found.
    pub found_at: Timestamp,
    /// Time at which it was resolved.
    pub resolved_at: Option<Timestamp>,
}

impl ReadModel for StockShortage {
    const NEEDS: Permission = Permission::SeeStock;
    const KEY: &'static [&'static str] = &["stock_item"];
    const INDEXED: &'static [&'static str] = &["missing", "found_at"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<StockItem>(|event| is_about_shortage(&event.event).then(|| key![event.stream]), Self::on_stock);
    }
}

impl StockShortage {
    fn on_stock(row: Option<Self>, event: &Recorded<StockEvent>) -> Folded<Self> {
        let StockEvent::ShortageRecorded { missing, orders, reason } = &event.event else {
            let at = Some(event.occurred_at);
            return Ok(row.map(|row| Self { missing: 0, orders: vec![], resolved_at: at, ..row }));
        };
        // A change of an open shortage keeps its time and, without a new reason, its reason.
        let open = row.filter(|row| row.missing > 0);
        let found_at = open.as_ref().map_or(event.occurred_at, |row| row.found_at);
        let reason = reason.clone().or(open.and_then(|row| row.reason));
        Ok(Some(Self {
            stock_item: StockItemId::new(event.stream),
            missing: *missing,
            orders: orders.clone(),
            reason,
            found_at,
            resolved_at: None,
        }))
    }
}

fn is_about_shortage(event: &StockEvent) -> bool {
    matches!(event, StockEvent::ShortageRecorded { .. } | StockEvent::ShortageResolved {})
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::stock_level::tests::{item, stocked};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn shortage_keeps_its_reason_until_it_is_resolved() {
        let order = |number| OrderId::new(Uuid::from_u128(number));
        let recorded = |missing, orders, reason: Option<&str>| {
            let reason = reason.map(|reason| reason.parse().expect("a reason"));
            StockEvent::ShortageRecorded { missing, orders, reason }
        };
        let open = stocked()
            .then::<StockItem>(item(), recorded(7, vec![order(1), order(2)], Some("water damage")))
            .then::<StockItem>(item(), recorded(3, vec![order(2)], None));
        let row: StockShortage = open.row();
        assert_eq!((row.missing, row.orders, row.resolved_at), (3, vec![order(2)], None));
        assert_eq!((row.reason, row.found_at), ("water damage".parse().ok(), Story::at(4)));

        let resolved = open.then::<StockItem>(item(), StockEvent::ShortageResolved {});
        let row: StockShortage = resolved.row();
        assert_eq!((row.missing, row.orders, row.resolved_at), (0, vec![], Some(Story::at(6))));

        let again: StockShortage = resolved.then::<StockItem>(item(), recorded(1, vec![], None)).row();
        assert_eq!((again.reason, again.found_at, again.resolved_at), (None, Story::at(7), None));
    }
}
