//! Order participants: everything that an order holds from its placement until it is shipped or cancelled, such as its
//! units in stock. Placement, payment, cancellation, expiry and dispatch call the list; a new participant changes none
//! of them.

use std::collections::BTreeMap;

use domain::flash_sales::SALE_HOLD_TIME;
use domain::inventory::HOLD_TIME;
use domain::orders::{Order, OrderLine, OrderRejection, Placement};
use domain::shared::{CustomerId, FlashSaleId, OrderId, ProductId, Quantity, StoreId, Timestamp};
use serde_json::Value;

use super::sale_allotment::SaleAllotment;
use super::stock_hold::StockHold;
use crate::kernel::{Context, Demands, Desk, Hint, Refusal, Rejected, rejected};

/// All participants, in the order in which they decide.
const PARTICIPANTS: &[&dyn Participant] = &[&SaleAllotment, &StockHold];

/// One kind of thing that orders hold. It is reserved when the order is placed and confirmed by its payment, and it ends
/// once: committed when the order is shipped, released when it is cancelled, or expired when it is not paid in time.
///
/// Each function may only read the streams that [`streams`](Self::streams) names, so that all are loaded together.
pub(super) trait Participant: Sync {
    /// Names the streams of an order.
    fn streams(&self, order: &HeldOrder, hint: &mut Hint);

    /// Names the streams that can sell out; see [`Command::demands`](crate::kernel::Command::demands).
    fn demands(&self, _order: &HeldOrder, _demands: &mut Demands) {}

    /// Changes the prices of the lines before the order is placed.
    fn price(&self, _: &mut [OrderLine], _order: &HeldOrder, _: &mut Desk, _: &Context) -> Result<(), Refusal> {
        Ok(())
    }

    /// Sets everything aside until the deadline for payment.
    fn reserve(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;

    /// True if everything is still set aside or can be set aside again.
    fn can_be_confirmed(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<bool, Refusal>;

    /// Confirms what is set aside, so that it no longer expires. What has expired is set aside again first.
    fn confirm(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;

    /// Gives back what is still set aside.
    fn release(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;

    /// Records that what was set aside has expired.
    fn expire(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;

    /// Records that what was set aside has left with the order.
    fn commit(&self, order: &HeldOrder, desk: &mut Desk, context: &Context) -> Result<(), Refusal>;
}

/// An order as its participants see it.
pub(super) struct HeldOrder {
    pub(super) id: OrderId,
    pub(super) customer: CustomerId,
    pub(super) store: StoreId,
    /// Units by product. Lines of one product are summed, because they compete for the same units.
    pub(super) units: BTreeMap<ProductId, Quantity>,
    /// Flash sales of the products that are sold in one; known once the lines are priced.
    pub(super) sales: BTreeMap<ProductId, FlashSaleId>,
}

impl HeldOrder {
    /// An order that is about to be placed.
    pub(super) fn new(
        id: OrderId,
        customer: CustomerId,
        store: StoreId,
        lines: impl Iterator<Item = (ProductId, Quantity)>,
    ) -> Result<Self, OrderRejection> {
        Ok(Self { id, customer, store, units: summed(lines)?, sales: BTreeMap::new() })
    }

    /// An existing order; rejects an unknown one.
    pub(super) fn read(desk: &mut Desk, id: OrderId) -> Result<Self, Refusal> {
        let order = desk.read::<Order>(id)?;
        let of = |order: &Order| Self::new(id, order.customer()?, order.store()?, order.lines());
        Ok(Self { sales: order.sales(), ..of(&order).map_err(rejected)? })
    }

    /// Deadline for the payment of an order that is placed or renewed now: shorter for an order with units of a flash sale.
    pub(super) fn deadline(&self, now: Timestamp) -> Timestamp {
        now.after(if self.sales.is_empty() { HOLD_TIME } else { SALE_HOLD_TIME })
    }

    /// Names the streams of all participants.
    pub(super) fn streams(&self, hint: &mut Hint) {
        PARTICIPANTS.iter().for_each(|participant| participant.streams(self, hint));
    }

    /// Names the streams that can sell out.
    pub(super) fn demands(&self, demands: &mut Demands) {
        PARTICIPANTS.iter().for_each(|participant| participant.demands(self, demands));
    }

    /// Has the participants change the prices of the lines.
    pub(super) fn priced(self, lines: &mut [OrderLine], desk: &mut Desk, context: &Context) -> Result<Self, Refusal> {
        for participant in PARTICIPANTS {
            participant.price(lines, &self, desk, context)?;
        }
        Ok(Self { sales: lines.iter().filter_map(|line| Some((line.product, line.sale?))).collect(), ..self })
    }

    /// Places the order and reserves what it holds.
    pub(super) fn place(&self, placement: Placement, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        desk.decide::<Order>(self.id, |order| order.place(placement))?;
        self.each(desk, |participant, desk| participant.reserve(self, desk, context))
    }

    /// True if everything is still set aside or can be set aside again.
    pub(super) fn can_be_confirmed(&self, desk: &mut Desk, context: &Context) -> Result<bool, Refusal> {
        desk.fetch(|hint| self.streams(hint))?;
        for participant in PARTICIPANTS {
            if !participant.can_be_confirmed(self, desk, context)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Confirms everything after payment.
    pub(super) fn confirm(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        self.each(desk, |participant, desk| participant.confirm(self, desk, context))
    }

    /// Gives everything back that is still set aside.
    pub(super) fn release(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        self.each(desk, |participant, desk| participant.release(self, desk, context))
    }

    /// Records the expiry of everything that has expired.
    pub(super) fn expire(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        self.each(desk, |participant, desk| participant.expire(self, desk, context))
    }

    /// Records that everything has left with the order.
    pub(super) fn commit(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        self.each(desk, |participant, desk| participant.commit(self, desk, context))
    }

    /// Requests the streams of all participants at once, then has each of them decide.
    fn each(
        &self,
        desk: &mut Desk,
        decide: impl Fn(&dyn Participant, &mut Desk) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        desk.fetch(|hint| self.streams(hint))?;
        PARTICIPANTS.iter().try_for_each(|participant| decide(*participant, desk))
    }
}

fn summed(lines: impl Iterator<Item = (ProductId, Quantity)>) -> Result<BTreeMap<ProductId, Quantity>, OrderRejection> {
    let mut units: BTreeMap<ProductId, Quantity> = BTreeMap::new();
    for (product, quantity) in lines {
        let before = units.get(&product).map_or(0, |sum| sum.get());
        let sum = Quantity::try_from(before.saturating_add(quantity.get()));
        units.insert(product, sum.map_err(|_| OrderRejection::TotalTooLarge {})?);
    }
    Ok(units)
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
