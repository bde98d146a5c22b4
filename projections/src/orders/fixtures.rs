//! Test fixtures: order events for the tests of this context.

use domain::orders::{CancelledBy, Order, OrderEvent, OrderLine};
use domain::shared::{CustomerId, Date, Money, OrderId, Price, PriceBreakdown, ProductId, Quantity, StoreId};
use uuid::Uuid;

use crate::testing::Story;

pub(super) fn customer() -> CustomerId {
    CustomerId::new(Uuid::from_u128(5))
}

pub(super) fn store() -> StoreId {
    StoreId::new(Uuid::from_u128(8))
}

pub(super) fn order(number: u128) -> OrderId {
    OrderId::new(Uuid::from_u128(0x100 + number))
}

pub(super) fn usd(minor: i64) -> Price {
    Price::try_from(Money { minor, currency: "USD".parse().expect("a currency") }).expect("a price")
}

pub(super) fn day(text: &str) -> Date {
    text.parse().expect("a day")
}

/// Places an order of two mugs for 10.00 USD.
pub(super) fn placed(story: Story, number: u128, on: &str) -> Story {
    let (sku, name) = ("MUG".parse().expect("a SKU"), "Mug".parse().expect("a name"));
    let two = Quantity::try_from(2).expect("a quantity");
    let line = OrderLine::new(ProductId::new(Uuid::from_u128(7)), sku, name, two, usd(500)).expect("a line");
    let lines = vec![line];
    let price = PriceBreakdown::of_goods(usd(1000));
    let event =
        OrderEvent::Placed { customer: customer(), store: store(), lines, price, placed_on: day(on), placed_at: None };
    story.then::<Order>(order(number), event)
}

pub(super) fn paid(story: Story, number: u128, on: &str) -> Story {
    let reference = "pay-1".parse().expect("a reference");
    let event = OrderEvent::Paid { customer: customer(), store: store(), amount: usd(1000), reference, on: day(on) };
    story.then::<Order>(order(number), event)
}

pub(super) fn refunded(story: Story, number: u128, amount: i64, so_far: i64, on: &str) -> Story {
    let event = OrderEvent::Refunded {
        customer: customer(),
        store: store(),
        amount: usd(amount),
        refunded: usd(so_far),
        total: usd(1000),
        reference: format!("refund-{so_far}").parse().expect("a reference"),
        on: day(on),
    };
    story.then::<Order>(order(number), event)
}

pub(super) fn cancelled(story: Story, number: u128, on: &str) -> Story {
    let event = OrderEvent::Cancelled {
        by: CancelledBy::Seller,
        reason: "sold out".parse().expect("a reason"),
        customer: customer(),
        store: store(),
        total: usd(1000),
        refund_due: None,
        on: day(on),
    };
    story.then::<Order>(order(number), event)
}

pub(super) fn imported(story: Story, number: u128, on: &str) -> Story {
    let event = OrderEvent::Imported {
        customer: customer(),
        store: store(),
        total: usd(3000),
        units: 3.try_into().expect("units"),
        ordered_on: day(on),
        source: "shopify 4711".parse().expect("a source"),
    };
    story.then::<Order>(order(number), event)
}
