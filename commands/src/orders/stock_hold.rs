//! Stock hold of an order: one reservation per product, which only the order changes.

use std::collections::BTreeMap;

use domain::inventory::{HOLD_TIME, StockItem, StockRejection};
use domain::kernel::Decision;
use domain::orders::{Order, OrderRejection};
use domain::shared::{Holder, OrderId, ProductId, Quantity, ReservationId, StockItemId, StoreId};
use serde_json::Value;

use crate::kernel::{Context, Desk, Refusal, Rejected, rejected};

/// Units that an order reserves, by product. Lines of one product are summed, because they compete for the same units.
pub(super) struct StockHold {
    order: OrderId,
    store: StoreId,
    units: BTreeMap<ProductId, Quantity>,
}

impl StockHold {
    /// The hold for the lines of a new order.
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
        Ok(Self { order, store, units })
    }

    /// The hold of an existing order.
    pub(super) fn of(id: OrderId, order: &Order) -> Result<Self, OrderRejection> {
        Self::new(id, order.store()?, order.lines())
    }

    /// The products with their stock items and units.
    pub(super) fn items(&self) -> impl Iterator<Item = (ProductId, StockItemId, Quantity)> {
        self.units.iter().map(|(product, units)| (*product, StockItem::id(*product, self.store), *units))
    }

    /// Reserves all units until the deadline for payment.
    pub(super) fn reserve(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let (id, until) = (ReservationId::of_order(self.order), context.now.after(HOLD_TIME));
        self.decide_each(desk, |item, units| item.reserve(id, self.holder(), units, until, context.now))
    }

    /// Confirms all reservations. Those that have expired are made again first; rejects if their units are no longer
    /// free.
    pub(super) fn confirm(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        self.decide_each(desk, |item, units| self.renew(item, units, context))?;
        self.decide_each(desk, |item, _| item.confirm(item.reservation_of(self.order), self.holder(), context.now))
    }

    /// True if all reservations are active or can be made again.
    pub(super) fn can_be_confirmed(&self, desk: &mut Desk, context: &Context) -> Result<bool, Refusal> {
        self.fetch(desk)?;
        for (_, id, units) in self.items() {
            if self.renew(&*desk.read::<StockItem>(id)?, units, context).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Releases the reservations that are still open.
    pub(super) fn release(&self, desk: &mut Desk) -> Result<(), Refusal> {
        self.decide_each(desk, |item, _| item.release(item.reservation_of(self.order), self.holder()))
    }

    /// Records the expiry of the reservations that have expired.
    pub(super) fn expire(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        self.decide_each(desk, |item, _| item.expire(item.reservation_of(self.order), context.now))
    }

    /// Records that all units have left the store.
    pub(super) fn commit(&self, desk: &mut Desk) -> Result<(), Refusal> {
        self.decide_each(desk, |item, _| item.commit(item.reservation_of(self.order), self.holder()))
    }

    fn holder(&self) -> Holder {
        Holder::Order(self.order)
    }

    /// Makes the reservation of an item again, unless it is active.
    fn renew(&self, item: &StockItem, units: Quantity, context: &Context) -> Decision<StockItem> {
        let (id, now) = (item.reservation_of(self.order), context.now);
        match item.confirm(id, self.holder(), now) {
            Err(StockRejection::ReservationGone { .. }) => {
                item.reserve(id, self.holder(), units, now.after(HOLD_TIME), now)
            }
            _ => Ok(vec![]),
        }
    }

    /// Requests the stock items of all products at once.
    fn fetch(&self, desk: &mut Desk) -> Result<(), Refusal> {
        desk.fetch(|hint| {
            for (_, item, _) in self.items() {
                hint.stream::<StockItem>(item);
            }
        })
    }

    /// Runs a verb on the stock item of every product.
    fn decide_each(
        &self,
        desk: &mut Desk,
        verb: impl Fn(&StockItem, Quantity) -> Decision<StockItem>,
    ) -> Result<(), Refusal> {
        self.fetch(desk)?;
        for (product, item, units) in self.items() {
            desk.decide::<StockItem>(item, |item| verb(item, units))
                .map_err(|refusal| with_product(product, refusal))?;
        }
        Ok(())
    }
}

/// Adds a product id to the details of a rejection; returns other refusals unchanged.
pub(super) fn with_product(product: ProductId, refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Rejected(Rejected { code, message, details: Value::Object(mut details), retry }) => {
            details.insert("product".into(), product.to_string().into());
            Refusal::Rejected(Rejected { code, message, details: Value::Object(details), retry })
        }
        other => other,
    }
}

/// The stock hold of an existing order; rejects an unknown order.
pub(super) fn stock_hold_of(desk: &mut Desk, id: OrderId) -> Result<StockHold, Refusal> {
    let order = desk.read::<Order>(id)?;
    StockHold::of(id, &order).map_err(rejected)
}
