//! Reservation commands: units set aside by hand. A reservation of an order changes only with the order.

use domain::inventory::{HOLD_TIME, StockItem, StockRejection};
use domain::orders::Order;
use domain::shared::{Holder, OrderId, Permission, Quantity, ReservationId, StockItemId, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Demands, Desk, Hint, Refusal, TenantStates, rejected};

/// Reserve units until they are paid for or the hold expires.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReserveStock {
    pub item: StockItemId,
    pub reservation: ReservationId,
    pub units: Quantity,
}

impl Command for ReserveStock {
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::SELLING;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        require_by_hand(desk, self.item, self.reservation)?;
        let until = context.now.after(HOLD_TIME);
        desk.decide::<StockItem>(self.item, |item| {
            item.reserve(self.reservation, Holder::Hand, self.units, until, context.now)
        })
    }

    fn demands(&self, demands: &mut Demands) {
        let sold_out = StockRejection::OutOfStock { free: 0, wanted: self.units.get() };
        demands.add::<StockItem>(self.item, sold_out);
    }
}

/// Confirm a reservation after payment. It no longer expires. The reservation of an order is confirmed by its payment.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl Command for ConfirmReservation {
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::OPERATING;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        require_by_hand(desk, self.item, self.reservation)?;
        desk.decide::<StockItem>(self.item, |item| item.confirm(self.reservation, Holder::Hand, context.now))
    }
}

/// Release a reservation. Its units are available again. The reservation of an order is released by its cancellation.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl Command for ReleaseReservation {
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        require_by_hand(desk, self.item, self.reservation)?;
        desk.decide::<StockItem>(self.item, |item| item.release(self.reservation, Holder::Hand))
    }
}

/// Record that reserved units have left the store. Those of an order leave when it is marked as in transit.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl Command for CommitReservation {
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::OPERATING;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        require_by_hand(desk, self.item, self.reservation)?;
        desk.decide::<StockItem>(self.item, |item| item.commit(self.reservation, Holder::Hand))
    }
}

/// Record that a reservation has expired.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
    /// The time at which it expires.
    pub until: Timestamp,
}

impl Command for ExpireReservation {
    const NEEDS: Permission = Permission::RunEngine;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        context.require_due(self.until)?;
        desk.decide::<StockItem>(self.item, |item| item.expire(self.reservation, context.now))
    }
}

/// Refuses a change by hand to the reservation of an order that was placed before holders were recorded. Such a
/// reservation has the id of its order.
fn require_by_hand(desk: &mut Desk, id: StockItemId, reservation: ReservationId) -> Result<(), Refusal> {
    if !desk.read::<StockItem>(id)?.has_unrecorded_holder(reservation) {
        return Ok(());
    }
    let order = OrderId::new(reservation.uuid());
    let existing = desk.read::<Order>(order)?;
    let Ok(store) = existing.store() else { return Ok(()) };
    if existing.lines().any(|(product, _)| StockItem::id(product, store) == id) {
        return Err(rejected(StockRejection::ReservationOfOrder { reservation, order }));
    }
    Ok(())
}
