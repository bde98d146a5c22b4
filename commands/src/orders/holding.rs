//! The stock that an order holds: one reservation per product, under the order's own id.

use std::collections::BTreeMap;

use domain::inventory::{HOLD_TIME, StockItem, StockRejection};
use domain::kernel::Decision;
use domain::orders::{Order, OrderRejection};
use domain::shared::{OrderId, ProductId, Quantity, ReservationId, StockItemId, StoreId};
use serde_json::Value;

use crate::kernel::{Context, Desk, Refusal, Rejected, rejected};

/// What an order needs from stock. Lines of one product are one hold, because they compete for the same units.
pub(super) struct Holding {
    pub(super) reservation: ReservationId,
    store: StoreId,
    units: BTreeMap<ProductId, Quantity>,
}

impl Holding {
    /// For lines that are yet to be placed.
    pub(super) fn new(
        order: OrderId,
        store: StoreId,
        lines: impl Iterator<Item = (ProductId, Quantity)>,
    ) -> Result<Self, OrderRejection> {
        let mut units: BTreeMap<ProductId, Quantity> = BTreeMap::new();
        for (product, quantity) in lines {
            let before = units.get(&product).map_or(0, |sum| sum.get());
            let sum = Quantity::try_from(before.saturating_add(quantity.get()));
            units.insert(product, sum.map_err(|_| OrderRejection::TotalTooLarge {})?);
        }
        Ok(Self { reservation: ReservationId::new(order.uuid()), store, units })
    }

    /// For an order that is there.
    pub(super) fn of(id: OrderId, order: &Order) -> Result<Self, OrderRejection> {
        Self::new(id, order.store()?, order.lines())
    }

    pub(super) fn items(&self) -> impl Iterator<Item = (ProductId, StockItemId, Quantity)> {
        self.units.iter().map(|(product, units)| (*product, StockItem::id(*product, self.store), *units))
    }

    /// Sets everything aside until the time for paying is over.
    pub(super) fn reserve(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let until = context.now.after(HOLD_TIME);
        self.each(desk, |item, units| item.reserve(self.reservation, units, until, context.now))
    }

    /// Makes everything firm. What has passed in the meantime is set aside anew, if it is still there to be had.
    pub(super) fn confirm(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let (now, until) = (context.now, context.now.after(HOLD_TIME));
        self.each(desk, |item, units| match item.confirm(self.reservation, now) {
            Err(StockRejection::ReservationGone { .. }) => item.reserve(self.reservation, units, until, now),
            _ => Ok(vec![]),
        })?;
        self.each(desk, |item, _| item.confirm(self.reservation, now))
    }

    /// Gives everything up that is still held.
    pub(super) fn release(&self, desk: &mut Desk) -> Result<(), Refusal> {
        self.each(desk, |item, _| item.release(self.reservation))
    }

    /// Writes down what has passed.
    pub(super) fn expire(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        self.each(desk, |item, _| item.expire(self.reservation, context.now))
    }

    /// Everything leaves the house.
    pub(super) fn commit(&self, desk: &mut Desk) -> Result<(), Refusal> {
        self.each(desk, |item, _| item.commit(self.reservation))
    }

    fn each(&self, desk: &mut Desk, verb: impl Fn(&StockItem, Quantity) -> Decision<StockItem>) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            for (_, item, _) in self.items() {
                hint.stream::<StockItem>(item);
            }
        })?;
        for (product, item, units) in self.items() {
            desk.decide::<StockItem>(item, |item| verb(item, units)).map_err(|refusal| naming(product, refusal))?;
        }
        Ok(())
    }
}

/// Lets a rejection say which product of the order it is about.
pub(super) fn naming(product: ProductId, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Rejected(Rejected { code, message, details: Value::Object(mut details), retry }) => {
            details.insert("product".into(), product.to_string().into());
            Refusal::Rejected(Rejected { code, message, details: Value::Object(details), retry })
        }
        other => other,
    }
}

/// The order and what it holds, if there is such an order.
pub(super) fn holding_of(desk: &mut Desk, id: OrderId) -> Result<Holding, Refusal> {
    let order = desk.read::<Order>(id)?;
    Holding::of(id, &order).map_err(rejected)
}
