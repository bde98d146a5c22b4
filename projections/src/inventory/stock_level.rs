//! Stock levels (INV-01, INV-05), of which buyers see the available units (INV-11). Invariant: available = on hand −
//! reserved.

use domain::inventory::{StockEvent, StockItem};
use domain::kernel::Recorded;
use domain::shared::{Permission, ProductId, StockItemId, StoreId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources, Unfoldable};

/// Stock level of one product in one store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockLevel {
    /// Id of the stock item: one product in one store.
    pub stock_item: StockItemId,
    /// Product that is stocked.
    pub product: ProductId,
    /// Store where it is stocked.
    pub store: StoreId,
    /// Units physically in the store.
    pub on_hand: i64,
    /// Units reserved for orders or set aside for a flash sale.
    pub reserved: i64,
    /// Units available for sale; negative while reserved units are missing.
    pub available: i64,
    /// Alert threshold: the stock is low at this number of available units or fewer.
    pub low_at: i64,
    /// Availability status.
    pub status: StockStatus,
    /// Time of the last change.
    pub changed_at: Timestamp,
}

/// Availability status. Out takes precedence over low.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockStatus {
    /// No unit is available.
    Out,
    /// At or below the alert threshold.
    Low,
    /// Above the alert threshold.
    Ok,
}

impl ReadModel for StockLevel {
    const NEEDS: Permission = Permission::SeeStock;
    const KEY: &'static [&'static str] = &["stock_item"];
    const INDEXED: &'static [&'static str] = &["product", "store", "available", "status"];
    const PUBLIC: &'static [&'static str] = &["stock_item", "product", "store", "available"];
    const REMAINING: Option<&'static str> = Some("available");

    fn sources(from: &mut Sources<Self>) {
        from.row_per_stream::<StockItem>(Self::on_stock);
    }
}

impl StockLevel {
    fn on_stock(row: Option<Self>, event: &Recorded<StockEvent>) -> Folded<Self> {
        if let StockEvent::Opened { product, store } = event.event {
            return Ok(Some(row.unwrap_or_else(|| Self::opened(event, product, store))));
        }
        if let StockEvent::Closed {} = event.event {
            return Ok(None);
        }
        let row = row.ok_or_else(Unfoldable::no_row)?;
        let (on_hand, reserved) = change(&event.event);
        let low_at = match event.event {
            StockEvent::ThresholdSet { low_at } => low_at.get(),
            _ => row.low_at,
        };
        let on_hand = row.on_hand.checked_add(on_hand).ok_or_else(|| Unfoldable::overflow("on_hand"))?;
        let reserved = row.reserved.checked_add(reserved).ok_or_else(|| Unfoldable::overflow("reserved"))?;
        let available = on_hand.checked_sub(reserved).ok_or_else(|| Unfoldable::overflow("available"))?;
        let status = StockStatus::of(available, low_at);
        Ok(Some(Self { on_hand, reserved, available, low_at, status, changed_at: event.occurred_at, ..row }))
    }

    fn opened(event: &Recorded<StockEvent>, product: ProductId, store: StoreId) -> Self {
        Self {
            stock_item: StockItemId::new(event.stream),
            product,
            store,
            on_hand: 0,
            reserved: 0,
            available: 0,
            low_at: 0,
            status: StockStatus::Out,
            changed_at: event.occurred_at,
        }
    }
}

impl StockStatus {
    fn of(available: i64, low_at: i64) -> Self {
        match available {
            ..=0 => Self::Out,
            _ if available <= low_at => Self::Low,
            _ => Self::Ok,
        }
    }
}

/// Changes of the on-hand and the reserved quantity by an event.
pub(super) fn change(event: &StockEvent) -> (i64, i64) {
    match *event {
        StockEvent::Received { units, .. } | StockEvent::Returned { units, .. } => (units.get(), 0),
        StockEvent::Adjusted { change, .. } | StockEvent::Counted { change, .. } => (change, 0),
        StockEvent::Reserved { units, .. } | StockEvent::Allotted { units, .. } => (0, units.get()),
        StockEvent::AllotmentRefilled { units, .. } => (0, units),
        StockEvent::AllotmentDrawn { units, .. } | StockEvent::AllotmentEnded { units, .. } => {
            (0, units.saturating_neg())
        }
        StockEvent::ReservationReleased { units, .. } | StockEvent::ReservationExpired { units, .. } => {
            (0, units.saturating_neg())
        }
        StockEvent::ReservationCommitted { units, .. } => (units.saturating_neg(), units.saturating_neg()),
        StockEvent::Opened { .. }
        | StockEvent::Closed {}
        | StockEvent::ReservationConfirmed { .. }
        | StockEvent::ThresholdSet { .. }
        | StockEvent::LowReached { .. }
        | StockEvent::Recovered { .. }
        | StockEvent::Depleted {}
        | StockEvent::Restored { .. }
        | StockEvent::ShortageRecorded { .. }
        | StockEvent::ShortageResolved {} => (0, 0),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use domain::shared::{Holder, Quantity, ReservationId, Units};
    use uuid::Uuid;

    use super::*;
    use crate::testing::Story;

    pub(crate) fn item() -> StockItemId {
        StockItem::id(ProductId::new(Uuid::from_u128(7)), StoreId::new(Uuid::from_u128(8)))
    }

    pub(crate) fn units(number: i64) -> Quantity {
        Quantity::try_from(number).expect("a quantity")
    }

    pub(crate) fn hold(number: u128) -> ReservationId {
        ReservationId::new(Uuid::from_u128(number))
    }

    pub(crate) fn reserved(number: u128, pieces: i64) -> StockEvent {
        let holder = Some(Holder::Hand);
        StockEvent::Reserved { reservation: hold(number), units: units(pieces), until: Story::at(900), holder }
    }

    /// Ten units received, alert threshold 5.
    pub(crate) fn stocked() -> Story {
        let (product, store) = (ProductId::new(Uuid::from_u128(7)), StoreId::new(Uuid::from_u128(8)));
        Story::new()
            .then::<StockItem>(item(), StockEvent::Opened { product, store })
            .then::<StockItem>(item(), StockEvent::Received { units: units(10), reason: None })
            .then::<StockItem>(item(), StockEvent::ThresholdSet { low_at: Units::try_from(5).expect("units") })
    }

    #[test]
    fn received_units_are_available_until_reserved() {
        let level: StockLevel = stocked().then::<StockItem>(item(), reserved(1, 3)).row();
        assert_eq!((level.on_hand, level.reserved, level.available), (10, 3, 7));
        assert_eq!((level.status, level.changed_at), (StockStatus::Ok, Story::at(4)));
    }

    #[test]
    fn release_returns_units_and_commit_removes_them() {
        let released = StockEvent::ReservationReleased { reservation: hold(1), units: 3 };
        let committed = StockEvent::ReservationCommitted { reservation: hold(2), units: 4 };
        let level: StockLevel = stocked()
            .then::<StockItem>(item(), reserved(1, 3))
            .then::<StockItem>(item(), reserved(2, 4))
            .then::<StockItem>(item(), released)
            .then::<StockItem>(item(), committed)
            .row();
        assert_eq!((level.on_hand, level.reserved, level.available), (6, 0, 6));
    }

    #[test]
    fn status_follows_the_available_quantity() {
        let status = |pieces| stocked().then::<StockItem>(item(), reserved(1, pieces)).row::<StockLevel>().status;
        assert_eq!([status(4), status(5), status(10)], [StockStatus::Ok, StockStatus::Low, StockStatus::Out]);
    }

    #[test]
    fn closed_item_has_no_row_until_it_is_opened_again() {
        let (product, store) = (ProductId::new(Uuid::from_u128(7)), StoreId::new(Uuid::from_u128(8)));
        let opened = || StockEvent::Opened { product, store };
        let closed = Story::new().then::<StockItem>(item(), opened()).then::<StockItem>(item(), StockEvent::Closed {});
        assert_eq!(closed.rows::<StockLevel>(), []);
        let again: StockLevel = closed.then::<StockItem>(item(), opened()).row();
        assert_eq!((again.on_hand, again.low_at, again.status), (0, 0, StockStatus::Out));
    }

    #[test]
    fn count_sets_the_on_hand_quantity() {
        let counted = StockEvent::Counted { on_hand: Units::try_from(8).expect("units"), change: -2, reason: None };
        assert_eq!(stocked().then::<StockItem>(item(), counted).row::<StockLevel>().on_hand, 8);
    }
}
