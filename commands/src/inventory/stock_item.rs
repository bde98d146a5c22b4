//! Stock commands: one product at one store.

use domain::inventory::{HOLD_TIME, StockItem, StockRejection};
use domain::shared::{
    Permission, ProductId, Quantity, Reason, ReservationId, StockItemId, StoreId, Timestamp, UnitChange, Units,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Demands, Desk, Hint, NotNow, Refusal, StreamCommand, StreamOf, VerbOf};

/// Start stocking a product at a store.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenStockItem {
    pub product: ProductId,
    pub store: StoreId,
}

impl StreamCommand for OpenStockItem {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| StockItem::id(command.product, command.store);
    const VERB: VerbOf<Self> = |command, item, _| item.open(command.product, command.store);
}

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

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let until = context.now.after(HOLD_TIME);
        desk.decide::<StockItem>(self.item, |item| item.reserve(self.reservation, self.units, until, context.now))
    }

    fn demands(&self, demands: &mut Demands) {
        let sold_out = StockRejection::OutOfStock { free: 0, wanted: self.units.get() };
        demands.add::<StockItem>(self.item, sold_out);
    }
}

/// Receive delivered units.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveStock {
    pub item: StockItemId,
    pub units: Quantity,
}

impl StreamCommand for ReceiveStock {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.receive(command.units);
}

/// Put units that a customer returned back into stock.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestockReturn {
    pub item: StockItemId,
    pub units: Quantity,
}

impl StreamCommand for RestockReturn {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.take_back(command.units);
}

/// Correct the number of units on hand manually.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    pub item: StockItemId,
    /// Units to add; negative to remove.
    pub change: UnitChange,
    pub reason: Reason,
    /// Allow a result below the reserved units.
    #[serde(default)]
    pub force: bool,
}

impl StreamCommand for AdjustStock {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> =
        |command, item, _| item.adjust(command.change.get(), command.reason.clone(), command.force);
}

/// Record the result of a stock count.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountStock {
    pub item: StockItemId,
    pub on_hand: Units,
}

impl StreamCommand for CountStock {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.count(command.on_hand);
}

/// Set the number of available units at or below which stock counts as low.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLowStockThreshold {
    pub item: StockItemId,
    pub low_at: Units,
}

impl StreamCommand for SetLowStockThreshold {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.set_threshold(command.low_at);
}

/// Confirm a reservation after payment. It no longer expires.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl StreamCommand for ConfirmReservation {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, context| item.confirm(command.reservation, context.now);
}

/// Release a reservation. Its units are available again.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl StreamCommand for ReleaseReservation {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.release(command.reservation);
}

/// Record that reserved units have left the store.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl StreamCommand for CommitReservation {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.commit(command.reservation);
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

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        if context.now < self.until {
            return Err(Refusal::NotNow(NotNow::NotDue));
        }
        desk.decide::<StockItem>(self.item, |item| item.expire(self.reservation, context.now))
    }
}
