//! Flash sale: more buyers than units, one unit for each customer.

use std::time::Duration;

use anyhow::{Context, Result};
use cartulary::cli::{Bearer, say};
use domain::shared::{CustomerId, ProductId, Seconds, StockItemId, StoreId};
use futures::{StreamExt, TryStreamExt, stream};
use platform::clock::{new_id, now};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::client::Client;
use super::deployment::Deployment;
use super::{Check, DemoShop};

const BUYERS: usize = 2_000;
pub(crate) const UNITS: i64 = 100;
const CONNECTIONS: usize = 64;
/// Duration of the sale in seconds, longer than any run.
const WINDOW_S: i64 = 3_600;
/// Time until the read model shows the whole sale.
const FIGURES_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the sale and checks the result in the log. Ids are derived from the seed.
pub(super) async fn play(deployment: &Deployment<'_>, shop: &DemoShop, seed: Uuid) -> Result<Vec<Check>> {
    let product = ProductId::new(id(seed, "product", 0));
    let item = domain::inventory::StockItem::id(product, StoreId::new(shop.store));
    put_on_sale(shop, product, item).await?;
    let sale = id(seed, "sale", 0);
    schedule(shop, sale, product).await?;
    let buyers =
        (0..BUYERS).map(|number| buyer(deployment, shop, id(seed, "buyer", number))).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let answers: Vec<Value> = stream::iter(buyers.into_iter().enumerate())
        .map(|(number, (customer, client))| async move {
            let order = json!({
                "order": id(seed, "order", number), "customer": customer, "store": shop.store,
                "lines": [{ "product": product, "quantity": 1 }],
            });
            client.execute("EnterFlashSale", new_id(), &json!({ "sale": sale, "customer": customer })).await?;
            client.command("PlaceOrder", new_id(), &order).await
        })
        .buffer_unordered(CONNECTIONS)
        .try_collect()
        .await?;
    let seconds = begun.elapsed().as_secs_f64();
    say(format!("\n{BUYERS} buyers for {UNITS} units: {:.0} orders/s decided", BUYERS as f64 / seconds));
    let accepted = count(&answers, |answer| answer["outcome"] == "accepted");
    let rejected = count(&answers, |answer| answer["rejection"]["code"] == "SALE_SOLD_OUT");
    let sold = sold(deployment.pool, shop, item).await.context("the log cannot be read")?;
    let figures = figures(shop, sale).await.context("the figures of the sale cannot be read")?;
    Ok(vec![
        Check::equal("sold, read from the log", sold, UNITS),
        Check::equal("oversold", (sold - UNITS).max(0), 0),
        Check::equal("undersold", (UNITS - sold).max(0), 0),
        Check::equal("buyers whose order was accepted", accepted, sold),
        Check::equal("buyers whose order was rejected as sold out", rejected, i64::try_from(BUYERS)? - sold),
        Check::equal(
            "participants, read from the sale",
            figures["participants"].as_i64().unwrap_or(-1),
            i64::try_from(BUYERS)?,
        ),
        Check::that("seconds to the sell-out", figures["soldOut"] == true, &figures["soldOutAfterS"]),
    ])
}

/// Publishes a product with `UNITS` units in stock.
pub(crate) async fn put_on_sale(shop: &DemoShop, product: ProductId, item: StockItemId) -> Result<()> {
    let create = json!({
        "product": product, "name": "Box set, signed", "sku": format!("BOX-{product}"),
        "price": { "minor": 4900, "currency": "USD" }, "description": null,
    });
    shop.owner.execute("CreateProduct", new_id(), &create).await?;
    shop.owner.execute("PublishProduct", new_id(), &json!({ "product": product })).await?;
    shop.owner.execute("OpenStockItem", new_id(), &json!({ "product": product, "store": shop.store })).await?;
    shop.owner.execute("ReceiveStock", new_id(), &json!({ "item": item, "units": UNITS })).await?;
    Ok(())
}

/// Schedules a sale of all units that begins at once.
async fn schedule(shop: &DemoShop, sale: Uuid, product: ProductId) -> Result<()> {
    let (starts_at, ends_at) = (now(), now().after(Seconds(WINDOW_S)));
    let terms = json!({
        "starts_at": starts_at, "ends_at": ends_at, "allotment": UNITS, "limit": 1,
        "price": { "minor": 2900, "currency": "USD" },
    });
    let schedule = json!({ "sale": sale, "product": product, "store": shop.store, "terms": terms });
    shop.owner.execute("ScheduleFlashSale", new_id(), &schedule).await?;
    Ok(())
}

/// Figures of the sale, once its last unit is taken.
async fn figures(shop: &DemoShop, sale: Uuid) -> Result<Value> {
    let query = format!("{{ flashSale(sale: \"{sale}\") {{ participants left soldOut soldOutAfterS }} }}");
    let begun = Instant::now();
    loop {
        let figures = shop.owner.query(&query, json!({})).await?["flashSale"].take();
        if figures["left"] == 0 && figures["participants"] == BUYERS || begun.elapsed() > FIGURES_TIMEOUT {
            return Ok(figures);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Id of an entity of one sale.
fn id(seed: Uuid, kind: &str, number: usize) -> Uuid {
    Uuid::new_v5(&seed, format!("{kind}:{number}").as_bytes())
}

/// A customer id, and a client with its token.
fn buyer(deployment: &Deployment<'_>, shop: &DemoShop, customer: Uuid) -> Result<(Uuid, Client)> {
    let token = deployment.token(&Bearer::customer(shop.tenant, CustomerId::new(customer)))?;
    Ok((customer, shop.owner.with_token(token)))
}

/// Units reserved and not released, by the events in the log.
async fn sold(pool: &PgPool, shop: &DemoShop, item: StockItemId) -> Result<i64> {
    let text = "SELECT coalesce(sum(CASE type WHEN 'stock.reserved' THEN 1 ELSE -1 END
                                    * (payload->>'units')::bigint), 0)::bigint
                FROM log.events
                WHERE tenant = $1 AND stream_type = 'StockItem' AND stream_id = $2
                  AND type IN ('stock.reserved', 'stock.reservation_released', 'stock.reservation_expired')";
    Ok(sqlx::query_scalar(text).bind(shop.tenant.uuid()).bind(item.uuid()).fetch_one(pool).await?)
}

fn count(answers: &[Value], matches: impl Fn(&Value) -> bool) -> i64 {
    i64::try_from(answers.iter().filter(|answer| matches(answer)).count()).unwrap_or(i64::MAX)
}
