//! Public shapes of order events.

use schemars::JsonSchema;
use serde::Serialize;

use super::{OrderEvent, OrderLine};
use crate::kernel::PublicShape;
use crate::shared::{CustomerId, Date, Price, StoreId};

/// A customer placed an order at these prices. Which rules made the price, and how its parts were divided among the
/// lines, stays inside the engine.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct OrderPlaced {
    customer: CustomerId,
    store: StoreId,
    lines: Vec<OrderLine>,
    /// Sum of the lines before any deduction.
    goods: Price,
    /// Sum of all discounts.
    discount: Price,
    /// Amount that points pay for.
    paid_with_points: Price,
    /// Cost of shipping.
    shipping: Price,
    /// Tax that is added to the prices; zero where the prices include it.
    tax: Price,
    /// Sum of all further costs.
    fees: Price,
    /// Amount that the customer owes.
    total: Price,
    placed_on: Date,
}

impl PublicShape<OrderEvent> for OrderPlaced {
    const EVENT: &'static str = "order.placed";
    const VERSION: i16 = 1;

    fn of(event: &OrderEvent) -> Option<Self> {
        let OrderEvent::Placed { customer, store, lines, price, placed_on, .. } = event else { return None };
        Some(Self {
            customer: *customer,
            store: *store,
            lines: lines.clone(),
            goods: price.goods(),
            discount: price.discount(),
            paid_with_points: price.paid_with_points(),
            shipping: price.shipping(),
            tax: price.tax(),
            fees: price.fees(),
            total: price.total(),
            placed_on: *placed_on,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::kernel::publish_stored;

    #[test]
    fn every_stored_version_of_a_placed_order_is_published_in_one_shape_without_rules() {
        let usd = |minor: i64| json!({ "minor": minor, "currency": "USD" });
        let (customer, store) = ("0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b", "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5c");
        let first = json!({
            "customer": customer, "store": store, "lines": [], "total": usd(1000), "placed_on": "2026-11-20",
        });
        let price = json!({
            "goods": usd(1100), "points": null, "shipping": usd(0), "tax": usd(0), "rounding": "largest_remainder",
            "discounts": [{ "source": "SAVE10", "rule_version": 3, "amount": usd(100), "shares": [100] }],
            "fees": [], "total": usd(1000),
        });
        let second = json!({
            "customer": customer, "store": store, "lines": [], "price": price, "placed_on": "2026-11-20",
        });
        for (version, stored, goods, discount) in [(1, first, 1000, 0), (2, second, 1100, 100)] {
            let stored = stored.to_string();
            let published = publish_stored("order.placed", version, &stored).expect("readable").expect("public");
            let expected = json!({
                "customer": customer, "store": store, "lines": [], "goods": usd(goods), "discount": usd(discount),
                "paid_with_points": usd(0), "shipping": usd(0), "tax": usd(0), "fees": usd(0), "total": usd(1000),
                "placed_on": "2026-11-20",
            });
            let body: Value = serde_json::from_str(&published.body).expect("JSON");
            assert_eq!((published.version, body), (1, expected));
        }
    }
}
