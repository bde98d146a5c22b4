//! Scripts of orders, placed and imported.

use std::collections::HashMap;

use anyhow::Result;
use domain::orders::{CancelledBy, Import, Order, OrderLine, Placement, Reference};
use domain::shared::{CustomerId, Money, OrderId, Price, Quantity, Reason, Text, Timestamp, Units};
use serde_json::json;

use super::{Dice, Pair, STEPS, Step};

#[tokio::test]
async fn orders_have_the_same_events_in_both() -> Result<()> {
    let pair = Pair::open().await?;
    let mut dice = Dice(2);
    let mut progress = HashMap::new();
    let script = (0..STEPS).map(|number| step(&mut dice, &pair, number, &mut progress)).collect::<Result<_>>()?;
    pair.play(script).await
}

/// Numbers of the steps that take an order from its placement to a refund without a refusal.
const REGULAR_STEPS: [u64; 7] = [0, 4, 7, 9, 11, 12, 13];

/// A step of one order: in two of three cases its next regular step, otherwise any step.
fn step(dice: &mut Dice, pair: &Pair, number: usize, progress: &mut HashMap<OrderId, usize>) -> Result<Step<Order>> {
    let order = OrderId::new(dice.id(0x30 + number as u128 / 40));
    let done = progress.entry(order).or_default();
    let what = match REGULAR_STEPS.get(*done) {
        Some(next) if dice.below(3) > 0 => {
            *done += 1;
            *next
        }
        _ => dice.below(16),
    };
    let (store, customer) = (pair.store(), CustomerId::new(dice.id(4)));
    let (day, reason) = (pair.day(), "changed their mind".parse::<Reason>()?);
    // As the shop of these tests prices its one product.
    let total = Price::try_from(Money { minor: 900, currency: "USD".parse()? })?;
    let part = Price::try_from(Money { minor: 100 * dice.units(), currency: "USD".parse()? })?;
    let reference: Reference = format!("bank-{}", dice.below(3)).parse()?;
    let only = json!({ "order": order });
    let explained = json!({ "order": order, "reason": reason });
    let moved = json!({ "order": order, "amount": part, "reference": reference });
    Ok(match what {
        0..3 => place(order, customer, pair)?,
        3 => {
            let (units, source) = (Units::try_from(2)?, format!("webshop {order}").parse::<Text<100>>()?);
            let ordered_at: Timestamp = "2026-11-01T23:30:00Z".parse()?;
            let body = json!({ "order": order, "customer": customer, "store": store, "total": total, "units": units,
                               "ordered_at": ordered_at, "source": source });
            Step::<Order>::new(("ImportOrder", body), order, move |state, _| {
                let (ordered_on, source) = (day(ordered_at), source.clone());
                state.import(Import { customer, store, total, units, ordered_on, source })
            })
        }
        4..7 => {
            let body = json!({ "order": order, "amount": total, "reference": reference });
            Step::<Order>::new(("RecordPayment", body), order, move |state, now| {
                state.record_payment(total, reference.clone(), day(now))
            })
        }
        7 | 8 => Step::<Order>::new(("AcceptOrder", only), order, |state, _| state.accept()),
        9 | 10 => Step::<Order>::new(("MarkReady", only), order, |state, _| state.mark_ready()),
        11 => Step::<Order>::new(("MarkInTransit", only), order, |state, _| state.mark_in_transit()),
        12 => Step::<Order>::new(("MarkDelivered", only), order, |state, _| state.mark_delivered()),
        13 => Step::<Order>::new(("RecordRefund", moved), order, move |state, now| {
            state.record_refund(part, reference.clone(), day(now))
        }),
        14 => Step::<Order>::new(("RejectOrder", explained), order, move |state, now| {
            state.reject(reason.clone(), day(now))
        }),
        _ => {
            let body = json!({ "order": order, "to": "cancelled", "reason": reason });
            Step::<Order>::new(("MoveOrder", body), order, move |state, now| {
                state.cancel(CancelledBy::Seller, reason.clone(), day(now))
            })
        }
    })
}

/// Places an order at the price and under the names that the product has in the shop of these tests.
fn place(order: OrderId, customer: CustomerId, pair: &Pair) -> Result<Step<Order>> {
    let (store, product, day) = (pair.store(), pair.shop.product, pair.day());
    let currency = "USD".parse()?;
    let price = Price::try_from(Money { minor: 900, currency })?;
    let sku = format!("MUG-{}", &product.to_string()[24..]).parse()?;
    let line = OrderLine::new(product, sku, "Mug".parse()?, Quantity::try_from(1)?, price)?;
    let body = pair.shop.order(order.uuid(), customer.uuid());
    Ok(Step::<Order>::new(("PlaceOrder", body), order, move |state, now| {
        let (lines, placed_on, placed_at) = (vec![line.clone()], day(now), now);
        state.place(Placement { customer, store, lines, currency, placed_on, placed_at })
    }))
}
