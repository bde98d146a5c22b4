//! Scripts of stock items.

use anyhow::Result;
use domain::inventory::{HOLD_TIME, StockItem};
use domain::shared::{Holder, ProductId, Quantity, Reason, ReservationId, StoreId, Units};
use serde_json::{Value, json};

use super::{Dice, Pair, STEPS, Step};

#[tokio::test]
async fn stock_items_have_the_same_events_in_both() -> Result<()> {
    let pair = Pair::open().await?;
    for product in Dice::ids(1) {
        let body = json!({ "product": product, "name": "Mug", "sku": product.to_string(),
                           "price": { "minor": 900, "currency": "USD" }, "description": null });
        pair.backend.execute(pair.tenant(), "CreateProduct", &body).await?;
    }
    let mut dice = Dice(1);
    let script = (0..STEPS).map(|_| step(&mut dice, pair.store())).collect::<Result<_>>()?;
    pair.play(script).await
}

fn step(dice: &mut Dice, store: StoreId) -> Result<Step<StockItem>> {
    let product = ProductId::new(dice.id(1));
    let item = StockItem::id(product, store);
    let (number, hold) = (dice.units(), ReservationId::new(dice.id(2)));
    let (quantity, units) = (Quantity::try_from(number)?, Units::try_from(number)?);
    let held = json!({ "item": item, "reservation": hold });
    let some = json!({ "item": item, "units": number });
    Ok(match dice.below(13) {
        0 | 1 => {
            let open: Value = json!({ "product": product, "store": store });
            Step::<StockItem>::new(("OpenStockItem", open), item, move |state, _| state.open(product, store))
        }
        2..=4 => Step::<StockItem>::new(("ReceiveStock", some), item, move |state, _| state.receive(quantity, None)),
        5 => {
            let (change, force, reason) = (number - 6, number == 1, "counted by night".parse::<Reason>()?);
            let adjust = json!({ "item": item, "change": change, "reason": reason, "force": force });
            Step::<StockItem>::new(("AdjustStock", adjust), item, move |state, _| {
                state.adjust(change, reason.clone(), force)
            })
        }
        6 => {
            let count = json!({ "item": item, "on_hand": number });
            Step::<StockItem>::new(("CountStock", count), item, move |state, _| state.count(units, None))
        }
        7 => {
            let threshold = json!({ "item": item, "low_at": number });
            Step::<StockItem>::new(("SetLowStockThreshold", threshold), item, move |state, _| {
                state.set_threshold(units)
            })
        }
        8 | 9 => {
            let reserve = json!({ "item": item, "reservation": hold, "units": number });
            Step::<StockItem>::new(("ReserveStock", reserve), item, move |state, now| {
                state.reserve(hold, Holder::Hand, quantity, now.after(HOLD_TIME), now)
            })
        }
        10 => Step::<StockItem>::new(("ConfirmReservation", held), item, move |state, now| {
            state.confirm(hold, Holder::Hand, now)
        }),
        11 => Step::<StockItem>::new(("ReleaseReservation", held), item, move |state, _| {
            state.release(hold, Holder::Hand)
        }),
        _ => {
            Step::<StockItem>::new(("CommitReservation", held), item, move |state, _| state.commit(hold, Holder::Hand))
        }
    })
}
