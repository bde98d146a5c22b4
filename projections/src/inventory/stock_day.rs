//! Daily figures of stock changes (INV-12). Invariant: each event is counted on one day.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::{Date, Permission, StockItemId, Zone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::stock_level::change;
use crate::kernel::{Folded, Key, ReadModel, Sources, Unfoldable};
use crate::key;

/// Changes of the on-hand quantity of one stock item on one day (UTC).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockDay {
    /// Stock item: one product in one store.
    pub stock_item: StockItemId,
    /// Day in UTC.
    pub day: Date,
    /// Number of deliveries.
    pub deliveries: i64,
    /// Number of corrections by hand.
    pub adjustments: i64,
    /// Number of counts that changed the quantity.
    pub counts: i64,
    /// Number of returns by customers.
    pub returns: i64,
    /// Number of reservations that were shipped.
    pub shipments: i64,
    /// Change of the on-hand quantity in units.
    pub on_hand_change: i64,
}

impl ReadModel for StockDay {
    const NEEDS: Permission = Permission::SeeStock;
    const KEY: &'static [&'static str] = &["stock_item", "day"];
    const INDEXED: &'static [&'static str] = &["day"];

    fn sources(from: &mut Sources<Self>) {
        from.stream::<StockItem>(|event| counter(&event.event).map(|_| key(event)), Self::on_stock);
    }
}

impl StockDay {
    fn on_stock(row: Option<Self>, event: &Recorded<StockEvent>) -> Folded<Self> {
        let Some((name, counter)) = counter(&event.event) else { return Ok(row) };
        let mut row = row.unwrap_or_else(|| Self::new(event));
        add(counter(&mut row), 1, name)?;
        add(&mut row.on_hand_change, change(&event.event).0, "on_hand_change")?;
        Ok(Some(row))
    }

    fn new(event: &Recorded<StockEvent>) -> Self {
        Self {
            stock_item: StockItemId::new(event.stream),
            day: day(event),
            deliveries: 0,
            adjustments: 0,
            counts: 0,
            returns: 0,
            shipments: 0,
            on_hand_change: 0,
        }
    }
}

fn key(event: &Recorded<StockEvent>) -> Key {
    key![event.stream, day(event)]
}

fn day(event: &Recorded<StockEvent>) -> Date {
    event.occurred_at.date_in(&Zone::UTC)
}

/// Counter of an event with its name; `None` if the event does not change the on-hand quantity.
type Counter = fn(&mut StockDay) -> &mut i64;

fn counter(event: &StockEvent) -> Option<(&'static str, Counter)> {
    match event {
        StockEvent::Received { .. } => Some(("deliveries", |row| &mut row.deliveries)),
        StockEvent::Adjusted { .. } => Some(("adjustments", |row| &mut row.adjustments)),
        StockEvent::Counted { .. } => Some(("counts", |row| &mut row.counts)),
        StockEvent::Returned { .. } => Some(("returns", |row| &mut row.returns)),
        StockEvent::ReservationCommitted { .. } => Some(("shipments", |row| &mut row.shipments)),
        _ => None,
    }
}

fn add(sum: &mut i64, change: i64, field: &str) -> Result<(), Unfoldable> {
    *sum = sum.checked_add(change).ok_or_else(|| Unfoldable::overflow(field))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::stock_level::tests::{hold, item, reserved, stocked};
    use super::*;

    #[test]
    fn each_change_is_counted_once() {
        let adjusted = || StockEvent::Adjusted { change: -2, reason: "broken".parse().expect("a reason") };
        let row: StockDay = stocked()
            .then::<StockItem>(item(), adjusted())
            .then::<StockItem>(item(), adjusted())
            .then::<StockItem>(item(), reserved(1, 3))
            .then::<StockItem>(item(), StockEvent::ReservationCommitted { reservation: hold(1), units: 3 })
            .row();
        assert_eq!((row.deliveries, row.adjustments, row.shipments, row.counts), (1, 2, 1, 0));
        assert_eq!(row.on_hand_change, 10 - 2 - 2 - 3);
    }
}
