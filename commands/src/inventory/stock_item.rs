//! Stock commands: one product at one store.

use domain::catalogue::Product;
use domain::inventory::StockItem;
use domain::orders::Order;
use domain::shared::{OrderId, Permission, ProductId, Quantity, Reason, StockItemId, StoreId, UnitChange, Units};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Refusal, StreamCommand, StreamOf, TenantStates, VerbOf, rejected};

/// Start stocking a product at a store. The product must be in the catalogue, and the store open.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenStockItem {
    pub product: ProductId,
    pub store: StoreId,
}

impl Command for OpenStockItem {
    const NEEDS: Permission = Permission::ManageStock;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(StockItem::id(self.product, self.store)).stream::<Product>(self.product);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| self.streams(hint))?;
        let item = StockItem::id(self.product, self.store);
        if !desk.read::<StockItem>(item)?.is_open() {
            desk.read::<Tenant>(context.tenant)?.zone_of(self.store).map_err(rejected)?;
            desk.read::<Product>(self.product)?.require_in_catalogue().map_err(rejected)?;
        }
        desk.decide::<StockItem>(item, |item| item.open(self.product, self.store))
    }
}

/// Stop stocking a product at a store, for example after it was opened there by mistake.
///
/// No unit may be on hand or reserved. The product can be stocked there again.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseStockItem {
    pub item: StockItemId,
}

impl StreamCommand for CloseStockItem {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::OPENED;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |_, item, context| item.close(context.now);
}

/// Receive delivered units.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceiveStock {
    pub item: StockItemId,
    pub units: Quantity,
    /// Shown in the movements, for example the number of a delivery note.
    pub reason: Option<Reason>,
}

impl StreamCommand for ReceiveStock {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::OPERATING;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.receive(command.units, command.reason.clone());
}

/// Put units that a customer returned back into stock.
///
/// They come from an order that was shipped, and no more come back than left for it. Units without such an order are
/// added with `AdjustStock`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestockReturn {
    /// The stock of the product, in the store that takes the units back.
    pub item: StockItemId,
    /// The order whose units came back.
    pub order: OrderId,
    pub units: Quantity,
}

impl Command for RestockReturn {
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::OPENED;

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<StockItem>(self.item).stream::<Order>(self.order);
    }

    fn decide(&self, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        desk.fetch(|hint| self.streams(hint))?;
        let product = desk.read::<StockItem>(self.item)?.product().map_err(rejected)?;
        desk.decide::<Order>(self.order, |order| order.take_back(product, self.units))?;
        desk.decide::<StockItem>(self.item, |item| item.take_back(self.units, self.order))
    }
}

/// Correct the number of units on hand manually.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AdjustStock {
    pub item: StockItemId,
    /// Units to add; negative to remove.
    pub change: UnitChange,
    pub reason: Reason,
    /// Allow a result below the reserved units. The shortage is recorded.
    #[serde(default)]
    pub force: bool,
}

impl StreamCommand for AdjustStock {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::OPERATING;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> =
        |command, item, _| item.adjust(command.change.get(), command.reason.clone(), command.force);
}

/// Record the result of a stock count.
///
/// A count below the reserved units records a shortage, with the orders for which nothing is left. It is resolved when
/// orders are cancelled or units arrive.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountStock {
    pub item: StockItemId,
    pub on_hand: Units,
    /// Shown in the movements. Required if the count lowers the stock below the reserved units.
    pub reason: Option<Reason>,
}

impl StreamCommand for CountStock {
    type Aggregate = StockItem;
    const NEEDS: Permission = Permission::ManageStock;
    const WHILE: TenantStates = TenantStates::OPERATING;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.count(command.on_hand, command.reason.clone());
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
    const WHILE: TenantStates = TenantStates::OPERATING;
    const STREAM: StreamOf<Self> = |command| command.item;
    const VERB: VerbOf<Self> = |command, item, _| item.set_threshold(command.low_at);
}
