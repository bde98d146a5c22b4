//! Settlement of one order (PAY-09, PAY-10, PAY-14).
//!
//! Invariants: an order is credited once; its refunds never debit more than its credit. Every order is a stream of its
//! own, so that the state of the account does not grow with its history.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Split;
use crate::kernel::{Aggregate, Decision, NoRejection};
use crate::shared::{OrderId, Price, SaleSettlementId, StoreId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SaleSettlement {
    sale: Option<Split>,
    /// Sum of all refunds.
    refunds: Option<Split>,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum SaleSettlementEvent {
    /// A paid order was settled.
    #[serde(rename = "sale.settled")]
    Settled { order: OrderId, store: StoreId, split: Split },
    /// A refund was settled; `split` is its own part, `total` the sum of all refunds.
    #[serde(rename = "sale.refund_settled")]
    RefundSettled { order: OrderId, split: Split, total: Split },
}

impl SaleSettlement {
    /// Stream id of the settlement of an order.
    pub fn id(order: OrderId) -> SaleSettlementId {
        SaleSettlementId::derived(order.uuid(), "settlement")
    }

    /// Settles a paid order. A repeat changes nothing.
    pub fn settle(&self, order: OrderId, store: StoreId, gross: Price) -> Decision<Self> {
        match self.sale {
            Some(_) => Ok(vec![]),
            None => Ok(vec![SaleSettlementEvent::Settled { order, store, split: Split::of_sale(gross) }]),
        }
    }

    /// Settles the refunds that were not settled before. Does nothing for an order that was not settled.
    pub fn settle_refunds(&self, order: OrderId, refunded: Price) -> Decision<Self> {
        let event = |(split, total)| SaleSettlementEvent::RefundSettled { order, split, total };
        Ok(self.refund_due(refunded).map(event).into_iter().collect())
    }

    /// Split of the order; `None` if it was not settled.
    pub fn sale(&self) -> Option<Split> {
        self.sale
    }

    /// Part of the refunds that was not settled before, and the sum of all refunds. `refunded` is this sum.
    pub fn refund_due(&self, refunded: Price) -> Option<(Split, Split)> {
        let total = Split::of_refunds(self.sale?, refunded);
        let split = total.since(self.refunds.unwrap_or(Split::zero(refunded)))?;
        Some((split, total))
    }
}

impl Aggregate for SaleSettlement {
    const TYPE: &'static str = "SaleSettlement";
    type Id = SaleSettlementId;
    type Event = SaleSettlementEvent;
    type Rejection = NoRejection;

    fn apply(&mut self, event: &SaleSettlementEvent) {
        match *event {
            SaleSettlementEvent::Settled { split, .. } => self.sale = Some(split),
            SaleSettlementEvent::RefundSettled { total, .. } => self.refunds = Some(total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::{STORE, id, price};
    use crate::testing::{Given, given};

    const ORDER: OrderId = OrderId::new(id(1));

    fn settled(gross: i64) -> Given<SaleSettlement> {
        let split = Split::of_sale(price(gross));
        given([])
            .when(|sale: &SaleSettlement| sale.settle(ORDER, STORE, price(gross)))
            .then_once([SaleSettlementEvent::Settled { order: ORDER, store: STORE, split }])
    }

    #[test]
    fn refunds_are_settled_once_and_add_up_to_the_sale() {
        let sale = Split::of_sale(price(10_000));
        let part = Split::of_refunds(sale, price(3_333));
        let rest = sale.since(part).expect("a rest");
        settled(10_000)
            .when(|sale| sale.settle_refunds(ORDER, price(3_333)))
            .then_once([SaleSettlementEvent::RefundSettled { order: ORDER, split: part, total: part }])
            .when(|sale| sale.settle_refunds(ORDER, price(10_000)))
            .then_once([SaleSettlementEvent::RefundSettled { order: ORDER, split: rest, total: sale }]);
    }

    #[test]
    fn refunds_of_an_order_that_was_not_settled_are_ignored() {
        given([]).when(|sale: &SaleSettlement| sale.settle_refunds(ORDER, price(100))).then_nothing();
    }
}
