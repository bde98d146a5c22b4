//! Stock hold of an order: one reservation per product, which only the order changes.

use domain::inventory::{StockItem, StockRejection};
use domain::kernel::Decision;
use domain::shared::{FlashSaleId, Holder, ProductId, Quantity, ReservationId, StockItemId, Timestamp};

use super::participant::{HeldOrder, Participant, with_product};
use crate::kernel::{Context, Demands, Desk, Hint, Refusal};

/// Units in stock, reserved at the store that sells.
pub(super) struct StockHold;

impl Participant for StockHold {
    fn streams(&self, order: &HeldOrder, hint: &mut Hint) {
        for (_, item, _) in items(order) {
            hint.stream::<StockItem>(item);
        }
    }

    fn demands(&self, order: &HeldOrder, demands: &mut Demands) {
        for (product, item, units) in items(order) {
            let sold_out = StockRejection::OutOfStock { free: 0, wanted: units.get() };
            demands.add_with::<StockItem>(item, sold_out, |refusal| with_product(product, refusal));
        }
    }

    fn reserve(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        let id = ReservationId::of_order(order.id);
        decide_each(order, desk, |item, units| reserve(order, item, id, units, context.now))
    }

    fn can_be_confirmed(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<bool, Refusal> {
        for (_, id, units) in items(order) {
            if renew(order, &*desk.read::<StockItem>(id)?, units, context).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Rejects if the units of an expired reservation are no longer free.
    fn confirm(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        decide_each(order, desk, |item, units| {
            let id = item.reservation_of(order.id);
            match renew(order, item, units, context)? {
                made if made.is_empty() => item.confirm(id, Holder::Order(order.id), context.now),
                made => Ok(StockItem::reserved_and_confirmed(id, made)),
            }
        })
    }

    fn release(&self, order: &HeldOrder, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        decide_each(order, desk, |item, _| item.release(item.reservation_of(order.id), Holder::Order(order.id)))
    }

    fn expire(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        decide_each(order, desk, |item, _| item.expire(item.reservation_of(order.id), context.now))
    }

    fn commit(&self, order: &HeldOrder, desk: &mut Desk, _: &Context) -> Result<(), Refusal> {
        decide_each(order, desk, |item, _| item.commit(item.reservation_of(order.id), Holder::Order(order.id)))
    }
}

/// Products of an order with their stock items and units.
fn items(order: &HeldOrder) -> impl Iterator<Item = (ProductId, StockItemId, Quantity)> {
    order.units.iter().map(|(product, units)| (*product, StockItem::id(*product, order.store), *units))
}

/// Makes the reservation of an item again, unless it is active.
fn renew(order: &HeldOrder, item: &StockItem, units: Quantity, context: &Context) -> Decision<StockItem> {
    let (id, now) = (item.reservation_of(order.id), context.now);
    match item.confirm(id, Holder::Order(order.id), now) {
        Err(StockRejection::ReservationGone { .. }) => reserve(order, item, id, units, now),
        _ => Ok(vec![]),
    }
}

/// Reserves units of an item until the deadline for payment, from its allotment if they are sold in a flash sale.
fn reserve(
    order: &HeldOrder,
    item: &StockItem,
    id: ReservationId,
    units: Quantity,
    now: Timestamp,
) -> Decision<StockItem> {
    let (holder, until) = (Holder::Order(order.id), order.deadline(now));
    match sale_of(order, item) {
        Some(sale) => item.reserve_allotted(sale, id, holder, units, until, now),
        None => item.reserve(id, holder, units, until, now),
    }
}

fn sale_of(order: &HeldOrder, item: &StockItem) -> Option<FlashSaleId> {
    order.sales.get(&item.product().ok()?).copied()
}

/// Runs a verb on the stock item of every product.
fn decide_each(
    order: &HeldOrder,
    desk: &mut Desk,
    verb: impl Fn(&StockItem, Quantity) -> Decision<StockItem>,
) -> Result<(), Refusal> {
    for (product, item, units) in items(order) {
        desk.decide::<StockItem>(item, |item| verb(item, units)).map_err(|refusal| with_product(product, refusal))?;
    }
    Ok(())
}
