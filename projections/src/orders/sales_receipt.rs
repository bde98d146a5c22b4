//! Sales receipts of paid orders (ORD-11). Invariant: the numbers of a year have no gap.

use domain::kernel::Recorded;
use domain::orders::SalesReceiptEvent;
use domain::shared::{Currency, CustomerId, Date, OrderId, Permission, StoreId, Text, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Folded, ReadModel, Sources};
use crate::key;

/// Sales receipt of a paid order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SalesReceipt {
    /// Order that was paid.
    pub order: OrderId,
    /// Number of the receipt, unique in the tenant: year and number within it.
    pub receipt_number: Text<32>,
    /// Year of the payment.
    pub year: i64,
    /// Number within the year, from 1, without gaps.
    pub number: i64,
    /// Customer who paid.
    pub customer: CustomerId,
    /// Store that sold.
    pub store: StoreId,
    /// Amount paid, in minor units.
    pub total_minor: i64,
    /// Currency of the amount.
    pub currency: Currency,
    /// Business day of the payment.
    pub paid_on: Date,
    /// Time at which the receipt was issued.
    pub issued_at: Timestamp,
}

impl ReadModel for SalesReceipt {
    const NEEDS: Permission = Permission::SeeOrders;
    const KEY: &'static [&'static str] = &["order"];
    const INDEXED: &'static [&'static str] = &["receipt_number", "year", "number", "customer", "store", "paid_on"];
    const OWNER: Option<&'static str> = Some("customer");

    fn sources(from: &mut Sources<Self>) {
        from.stream::<domain::orders::SalesReceipt>(
            |event| {
                let SalesReceiptEvent::Issued { order, .. } = event.event;
                Some(key![order])
            },
            Self::on_receipt,
        );
    }
}

impl SalesReceipt {
    fn on_receipt(_: Option<Self>, event: &Recorded<SalesReceiptEvent>) -> Folded<Self> {
        let SalesReceiptEvent::Issued { order, customer, store, total, on, year, number } = event.event;
        let receipt_number = format!("{year}-{number:06}").parse().expect("a short visible text");
        Ok(Some(Self {
            order,
            receipt_number,
            year: year.into(),
            number,
            customer,
            store,
            total_minor: total.minor(),
            currency: total.currency(),
            paid_on: on,
            issued_at: event.occurred_at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{customer, day, order, store, usd};
    use super::*;
    use crate::testing::Story;

    #[test]
    fn receipt_shows_its_number_and_the_payment() {
        let (order, customer, store, total) = (order(1), customer(), store(), usd(1000));
        let on = day("2026-11-20");
        let issued = SalesReceiptEvent::Issued { order, customer, store, total, on, year: 2026, number: 17 };
        let story = Story::new().then::<domain::orders::SalesReceipt>(domain::orders::SalesReceipt::id(order), issued);
        let row: SalesReceipt = story.row();
        assert_eq!((row.receipt_number.to_string().as_str(), row.total_minor), ("2026-000017", 1000));
    }
}
