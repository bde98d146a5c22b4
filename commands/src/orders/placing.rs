//! The moment of purchase.

use std::borrow::Cow;

use domain::catalogue::Product;
use domain::inventory::{StockItem, StockRejection};
use domain::orders::{LINES_MOST, Order, OrderLine, OrderRejection, Placement};
use domain::shared::{CustomerId, OrderId, Permission, ProductId, Quantity, StoreId};
use domain::tenancy::Tenant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::holding::{Holding, naming};
use crate::kernel::{Command, Context, Desk, Hint, Refusal, Scarce, Subject, rejected};

/// Buy: place an order at today's prices and set its stock aside until it is paid, all of it or nothing.
///
/// The stock is held for 15 minutes; an order that is not paid by then is cancelled. Where a product cannot be had,
/// `details.product` says which.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrder {
    /// Made by the caller, so that sending it again places no second order.
    pub order: OrderId,
    /// Whose order it is. She need not be registered.
    pub customer: CustomerId,
    /// The store that sells, and from whose stock.
    pub store: StoreId,
    /// 1 to 100 lines; several lines may be of one product.
    #[schemars(length(min = 1, max = LINES_MOST))]
    pub lines: Vec<WantedLine>,
}

/// So many pieces of one product.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedLine {
    pub product: ProductId,
    pub quantity: Quantity,
}

impl Command for PlaceOrder {
    const NEEDS: Permission = Permission::PlaceOrders;

    fn subject(&self) -> Subject {
        Subject::Customer(self.customer)
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Order>(self.order);
        // More lines are refused without a look at them.
        for line in self.lines.iter().take(LINES_MOST) {
            hint.stream::<Product>(line.product).stream::<StockItem>(StockItem::id(line.product, self.store));
        }
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        Order::require_lines(self.lines.len()).map_err(rejected)?;
        desk.fetch(|hint| self.streams(hint.stream::<Tenant>(context.tenant)))?;
        let known = desk.read::<Order>(self.order)?;
        if known.status().is_ok() {
            return self.repeat(&known);
        }
        let tenant = desk.read::<Tenant>(context.tenant)?;
        tenant.taking_orders().map_err(rejected)?;
        let placed_on = tenant.day_at(self.store, context.now).map_err(rejected)?;
        let currency = tenant.currency().map_err(rejected)?;
        let lines = self.priced(desk)?;
        let holding = Holding::new(self.order, self.store, self.pieces()).map_err(rejected)?;
        let placement = Placement { customer: self.customer, store: self.store, lines, currency, placed_on };
        desk.decide::<Order>(self.order, |order| order.place(placement))?;
        holding.reserve(desk, context)
    }

    fn takes(&self, scarce: &mut Scarce) {
        // An order with more units than a quantity can carry is rejected before stock is asked.
        let Ok(holding) = Holding::new(self.order, self.store, self.pieces().take(LINES_MOST)) else { return };
        for (product, item, units) in holding.items() {
            let gone = StockRejection::OutOfStock { free: 0, wanted: units.get() };
            scarce.take_with::<StockItem>(item, gone, |refusal| naming(product, refusal));
        }
    }
}

impl PlaceOrder {
    /// An order that is there is not placed again, whatever has become of its prices and its stock since.
    fn repeat(&self, known: &Order) -> Result<(), Refusal> {
        let same = known.customer() == Ok(self.customer) && known.store() == Ok(self.store);
        if same && known.lines().eq(self.pieces()) {
            return Ok(());
        }
        Err(rejected(OrderRejection::OrderExists {}))
    }

    fn pieces(&self) -> impl Iterator<Item = (ProductId, Quantity)> {
        self.lines.iter().map(|line| (line.product, line.quantity))
    }

    fn priced(&self, desk: &mut Desk) -> Result<Vec<OrderLine>, Refusal> {
        let mut lines = Vec::with_capacity(self.lines.len());
        for wanted in &self.lines {
            let product: Cow<'_, Product> = desk.read::<Product>(wanted.product)?;
            let line = priced(wanted, &product).map_err(|refusal| naming(wanted.product, refusal))?;
            lines.push(line);
        }
        Ok(lines)
    }
}

fn priced(wanted: &WantedLine, product: &Product) -> Result<OrderLine, Refusal> {
    let price = product.sale_price().map_err(rejected)?;
    let name = product.name().map_err(rejected)?.clone();
    let sku = product.sku().map_err(rejected)?.clone();
    OrderLine::new(wanted.product, sku, name, wanted.quantity, price).map_err(rejected)
}
