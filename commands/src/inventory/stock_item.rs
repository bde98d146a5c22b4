//! Stock of one product at one place.

use domain::inventory::{HOLD_TIME, StockItem, StockRejection};
use domain::shared::{
    Permission, ProductId, Quantity, Reason, ReservationId, StockItemId, StoreId, Timestamp, UnitChange, Units,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, NotNow, Refusal, Scarce, Subject};

/// Start stocking a product at a store.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenStockItem {
    pub product: ProductId,
    pub store: StoreId,
}

impl Command for OpenStockItem {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(StockItem::id(self.product, self.store));
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(StockItem::id(self.product, self.store), |item| item.open(self.product, self.store))
    }
}

/// Hold units for somebody until they are paid for or the hold passes.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReserveStock {
    pub item: StockItemId,
    pub reservation: ReservationId,
    pub units: Quantity,
}

impl Command for ReserveStock {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let until = context.now.after(HOLD_TIME);
        desk.decide::<StockItem>(self.item, |item| item.reserve(self.reservation, self.units, until, context.now))
    }

    fn takes(&self, scarce: &mut Scarce) {
        let gone = StockRejection::OutOfStock { free: 0, wanted: self.units.get() };
        scarce.take::<StockItem>(self.item, gone);
    }
}

/// Take in units that arrived.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveStock {
    pub item: StockItemId,
    pub units: Quantity,
}

impl Command for ReceiveStock {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(self.item, |item| item.receive(self.units))
    }
}

/// Take back units that a customer returned.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestockReturn {
    pub item: StockItemId,
    pub units: Quantity,
}

impl Command for RestockReturn {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(self.item, |item| item.take_back(self.units))
    }
}

/// Correct the number on hand by hand.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    pub item: StockItemId,
    /// How many units more, or fewer where negative.
    pub change: UnitChange,
    pub reason: Reason,
    /// Go below what is set aside for others, on purpose.
    #[serde(default)]
    pub force: bool,
}

impl Command for AdjustStock {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(self.item, |item| item.adjust(self.change.get(), self.reason.clone(), self.force))
    }
}

/// Report how many units a count found.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountStock {
    pub item: StockItemId,
    pub on_hand: Units,
}

impl Command for CountStock {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(self.item, |item| item.count(self.on_hand))
    }
}

/// Say from how many available units on an alert is wanted.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetLowStockThreshold {
    pub item: StockItemId,
    pub low_at: Units,
}

impl Command for SetLowStockThreshold {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(self.item, |item| item.set_threshold(self.low_at))
    }
}

/// Make a hold firm because it is paid for.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl Command for ConfirmReservation {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(self.item, |item| item.confirm(self.reservation, context.now))
    }
}

/// Give a hold up.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl Command for ReleaseReservation {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(self.item, |item| item.release(self.reservation))
    }
}

/// Report that held units left the house.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommitReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
}

impl Command for CommitReservation {
    const NEEDS: Permission = Permission::ManageStock;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.decide::<StockItem>(self.item, |item| item.commit(self.reservation))
    }
}

/// Write down that a hold has passed.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpireReservation {
    pub item: StockItemId,
    pub reservation: ReservationId,
    /// Until when it was made.
    pub until: Timestamp,
}

impl Command for ExpireReservation {
    const NEEDS: Permission = Permission::RunEngine;

    fn subject(&self) -> Subject {
        Subject::Tenant
    }

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
