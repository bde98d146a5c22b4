//! Entry of a customer into a flash sale (FLS-09).
//!
//! Invariant: a customer enters a sale once. Every customer of a sale is a stream of its own, so that the state of the
//! sale does not grow with its visitors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, FlashSaleId, SaleEntryId};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SaleEntry {
    entered: bool,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum SaleEntryEvent {
    /// A customer entered a flash sale: opened it in an app, or ordered in it.
    #[serde(rename = "sale_entry.recorded")]
    Recorded { sale: FlashSaleId, customer: CustomerId },
}

/// Rejections of an entry: there are none.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SaleEntryRejection {}

impl Rejection for SaleEntryRejection {
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

impl SaleEntry {
    /// Stream id of a customer in a sale.
    pub fn id(sale: FlashSaleId, customer: CustomerId) -> SaleEntryId {
        SaleEntryId::derived(sale.uuid(), &customer.to_string())
    }

    /// Records that the customer entered the sale. A repeat changes nothing.
    pub fn record(&self, sale: FlashSaleId, customer: CustomerId) -> Decision<Self> {
        Ok(if self.entered { vec![] } else { vec![SaleEntryEvent::Recorded { sale, customer }] })
    }
}

impl Aggregate for SaleEntry {
    const TYPE: &'static str = "SaleEntry";
    type Id = SaleEntryId;
    type Event = SaleEntryEvent;
    type Rejection = SaleEntryRejection;

    fn apply(&mut self, event: &SaleEntryEvent) {
        let SaleEntryEvent::Recorded { .. } = event;
        self.entered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::{ADA, BEN, id};

    const SALE: FlashSaleId = FlashSaleId::new(id(9));

    #[test]
    fn customer_enters_a_sale_once() {
        given([])
            .when(|entry: &SaleEntry| entry.record(SALE, ADA))
            .then_once([SaleEntryEvent::Recorded { sale: SALE, customer: ADA }]);
        assert_ne!(SaleEntry::id(SALE, ADA), SaleEntry::id(SALE, BEN));
    }
}
