//! A flash sale: many buyers, few units, one unit each.

use anyhow::{Context, Result};
use domain::shared::{CustomerId, ProductId, StockItemId, StoreId};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use super::client::Client;
use super::stage::Stage;
use super::{Claim, Shop};
use cartulary::cli::{Bearer, say};
use platform::clock::new_id;

const BUYERS: usize = 2_000;
pub(crate) const UNITS: i64 = 100;
const CONNECTIONS: usize = 64;

pub(super) async fn play(stage: &Stage<'_>, shop: &Shop, seed: Uuid) -> Result<Vec<Claim>> {
    let product = ProductId::new(id(seed, "product", 0));
    let item = domain::inventory::StockItem::id(product, StoreId::new(shop.store));
    put_on_sale(shop, product, item).await?;
    let buyers = (0..BUYERS).map(|number| buyer(stage, shop, id(seed, "buyer", number))).collect::<Result<Vec<_>>>()?;
    let begun = tokio::time::Instant::now();
    let answers: Vec<Value> = stream::iter(buyers.into_iter().enumerate())
        .map(|(number, (customer, client))| async move {
            let order = json!({
                "order": id(seed, "order", number), "customer": customer, "store": shop.store,
                "lines": [{ "product": product, "quantity": 1 }],
            });
            client.command("PlaceOrder", new_id(), &order).await
        })
        .buffer_unordered(CONNECTIONS)
        .try_collect()
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    say(format!("\n{BUYERS} buyers for {UNITS} units: {:.0} orders/s decided", BUYERS as f64 / seconds));
    let bought = count(&answers, |answer| answer["outcome"] == "accepted");
    let refused = count(&answers, |answer| answer["rejection"]["code"] == "OUT_OF_STOCK");
    let sold = sold(stage.pool, shop, item).await.context("the log cannot be read")?;
    Ok(vec![
        Claim::equal("sold, read from the log", sold, UNITS),
        Claim::equal("oversold", (sold - UNITS).max(0), 0),
        Claim::equal("undersold", (UNITS - sold).max(0), 0),
        Claim::equal("buyers who were told that they have one", bought, sold),
        Claim::equal("buyers who were told that there is none left", refused, i64::try_from(BUYERS)? - sold),
    ])
}

pub(crate) async fn put_on_sale(shop: &Shop, product: ProductId, item: StockItemId) -> Result<()> {
    let create = json!({
        "product": product, "name": "Box set, signed", "sku": format!("BOX-{product}"),
        "price": { "minor": 4900, "currency": "USD" }, "description": null,
    });
    shop.owner.do_it("CreateProduct", new_id(), &create).await?;
    shop.owner.do_it("PublishProduct", new_id(), &json!({ "product": product })).await?;
    shop.owner.do_it("OpenStockItem", new_id(), &json!({ "product": product, "store": shop.store })).await?;
    shop.owner.do_it("ReceiveStock", new_id(), &json!({ "item": item, "units": UNITS })).await?;
    Ok(())
}

/// The id of something in one sale.
fn id(seed: Uuid, what: &str, number: usize) -> Uuid {
    Uuid::new_v5(&seed, format!("{what}:{number}").as_bytes())
}

/// A customer with a token of her own.
fn buyer(stage: &Stage<'_>, shop: &Shop, customer: Uuid) -> Result<(Uuid, Client)> {
    let token = stage.token(&Bearer::customer(shop.tenant, CustomerId::new(customer)))?;
    Ok((customer, shop.owner.with_token(token)))
}

/// Units set aside and not given back, as the log has it.
async fn sold(pool: &PgPool, shop: &Shop, item: StockItemId) -> Result<i64> {
    let text = "SELECT coalesce(sum(CASE type WHEN 'stock.reserved' THEN 1 ELSE -1 END
                                    * (payload->>'units')::bigint), 0)::bigint
                FROM log.events
                WHERE tenant = $1 AND stream_type = 'StockItem' AND stream_id = $2
                  AND type IN ('stock.reserved', 'stock.reservation_released', 'stock.reservation_expired')";
    Ok(sqlx::query_scalar(text).bind(shop.tenant.uuid()).bind(item.uuid()).fetch_one(pool).await?)
}

fn count(answers: &[Value], fits: impl Fn(&Value) -> bool) -> i64 {
    i64::try_from(answers.iter().filter(|answer| fits(answer)).count()).unwrap_or(i64::MAX)
}
