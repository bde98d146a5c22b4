//! Sales receipt of a paid order, and the book that numbers the receipts of a year (ORD-11).
//!
//! Invariants: an order has one receipt; the receipts of a tenant and a year have the numbers 1, 2, 3 and so on, without
//! gaps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{CustomerId, Date, OrderId, Price, ReceiptBookId, SalesReceiptId, StoreId, TenantId};

/// Sales receipt of one order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SalesReceipt {
    issued: bool,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum SalesReceiptEvent {
    /// A receipt was issued for a paid order.
    #[serde(rename = "sales_receipt.issued")]
    Issued { order: OrderId, customer: CustomerId, store: StoreId, total: Price, on: Date, year: i16, number: i64 },
}

/// Rejections of a receipt: there are none.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SalesReceiptRejection {}

impl Rejection for SalesReceiptRejection {
    fn retry(&self) -> Retry {
        Retry::Never
    }
}

/// Contents of a receipt.
#[derive(Clone, Debug)]
pub struct SalesReceiptContent {
    pub order: OrderId,
    pub customer: CustomerId,
    pub store: StoreId,
    pub total: Price,
    /// Business day of the payment.
    pub on: Date,
    /// Number in the book of the year.
    pub number: i64,
}

impl SalesReceipt {
    /// Stream id of the receipt of an order.
    pub fn id(order: OrderId) -> SalesReceiptId {
        SalesReceiptId::derived(order.uuid(), "sales receipt")
    }

    /// Issues the receipt. A repeat changes nothing.
    pub fn issue(&self, content: &SalesReceiptContent) -> Decision<Self> {
        let &SalesReceiptContent { order, customer, store, total, on, number } = content;
        let year = on.year();
        Ok(if self.issued {
            vec![]
        } else {
            vec![SalesReceiptEvent::Issued { order, customer, store, total, on, year, number }]
        })
    }

    pub fn is_issued(&self) -> bool {
        self.issued
    }
}

impl Aggregate for SalesReceipt {
    const TYPE: &'static str = "SalesReceipt";
    type Id = SalesReceiptId;
    type Event = SalesReceiptEvent;
    type Rejection = SalesReceiptRejection;

    fn apply(&mut self, event: &SalesReceiptEvent) {
        let SalesReceiptEvent::Issued { .. } = event;
        self.issued = true;
    }
}

/// Numbers of the receipts of one tenant and year.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReceiptBook {
    last: i64,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ReceiptBookEvent {
    /// The next number was given to a receipt.
    #[serde(rename = "receipt_book.number_taken")]
    NumberTaken { order: OrderId, number: i64 },
}

/// Rejections of a receipt book.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReceiptBookRejection {
    #[error("the next receipt has the number {next}, not {number}")]
    NumberOutOfOrder { next: i64, number: i64 },
}

impl Rejection for ReceiptBookRejection {
    fn retry(&self) -> Retry {
        Retry::NewId
    }
}

impl ReceiptBook {
    /// Stream id of the book of a year.
    pub fn id(tenant: TenantId, year: i16) -> ReceiptBookId {
        ReceiptBookId::derived(tenant.uuid(), &year.to_string())
    }

    /// Number of the next receipt.
    pub fn next(&self) -> i64 {
        self.last.saturating_add(1)
    }

    /// Gives the next number to the receipt of an order. The last number, again, changes nothing.
    pub fn take(&self, order: OrderId, number: i64) -> Decision<Self> {
        match number {
            _ if number == self.last => Ok(vec![]),
            _ if number == self.next() => Ok(vec![ReceiptBookEvent::NumberTaken { order, number }]),
            _ => Err(ReceiptBookRejection::NumberOutOfOrder { next: self.next(), number }),
        }
    }
}

impl Aggregate for ReceiptBook {
    const TYPE: &'static str = "ReceiptBook";
    type Id = ReceiptBookId;
    type Event = ReceiptBookEvent;
    type Rejection = ReceiptBookRejection;

    fn apply(&mut self, event: &ReceiptBookEvent) {
        let ReceiptBookEvent::NumberTaken { number, .. } = event;
        self.last = *number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::given;
    use crate::testing::values::{ADA, STORE, id, parsed, price};

    fn order(number: u128) -> OrderId {
        OrderId::new(id(number))
    }

    #[test]
    fn order_has_one_receipt() {
        let on: Date = parsed("2026-12-31");
        let content =
            SalesReceiptContent { order: order(1), customer: ADA, store: STORE, total: price(900), on, number: 7 };
        let (order, total) = (order(1), price(900));
        given([]).when(|receipt: &SalesReceipt| receipt.issue(&content)).then_once([SalesReceiptEvent::Issued {
            order,
            customer: ADA,
            store: STORE,
            total,
            on,
            year: 2026,
            number: 7,
        }]);
    }

    #[test]
    fn numbers_of_a_book_have_no_gap() {
        let taken = |number| ReceiptBookEvent::NumberTaken { order: order(9), number };
        given([])
            .when(|book: &ReceiptBook| book.take(order(9), book.next()))
            .then([taken(1)])
            .when(|book| book.take(order(9), 3))
            .then_rejected(ReceiptBookRejection::NumberOutOfOrder { next: 2, number: 3 });
        assert_ne!(ReceiptBook::id(TenantId::PLATFORM, 2026), ReceiptBook::id(TenantId::PLATFORM, 2027));
    }
}
