//! Sold-out hints: orders for stock that is gone are put off for a bounded time; after it, the domain decides.

use anyhow::{Result, ensure};
use cartulary::cli::Bearer;
use cartulary::settings::Settings;
use domain::shared::{CustomerId, Role};
use lab::harness::{Engine, HttpResponse, RedisServer, Shop, eventually};
use platform::clock::new_id;
use serde_json::json;
use uuid::Uuid;

/// Lifetime of a hint that no test outlives; settings allow at most five seconds.
const LONG_MS: u32 = 3_600_000;

/// A shop that sells one unit.
struct Sale {
    engine: Engine,
    shop: Shop,
    owner: String,
}

impl Sale {
    async fn of_one_unit(redis_url: Option<String>, sold_out_hint_ms: u32) -> Result<Self> {
        let engine = Engine::start_with(Settings { redis_url, sold_out_hint_ms, ..Settings::default() }).await?;
        let (tenant, _) = engine.tenant().await?;
        let (shop, owner) = (Shop::new(tenant), engine.token(&Bearer::of(tenant, Role::Owner))?);
        for (name, body) in shop.setup_commands(1) {
            engine.execute(&owner, name, &body).await?;
        }
        Ok(Self { engine, shop, owner })
    }

    /// Orders the unit. No order was refused before, so none is put off.
    async fn first_order(&self, order: Uuid) -> Result<()> {
        let got = self.order(order).await?;
        ensure!(got.status == 200, "{}", got.json());
        Ok(())
    }

    async fn order(&self, order: Uuid) -> Result<HttpResponse> {
        let token = self.engine.token(&Bearer::customer(self.shop.tenant, CustomerId::new(order)))?;
        self.engine.command(&token, "PlaceOrder", order, &self.shop.order(order, order)).await
    }
}

fn is_put_off(got: &HttpResponse) -> bool {
    got.status == 503 && got.json()["code"] == "SOLD_OUT_FOR_NOW"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_for_sold_out_stock_are_put_off_without_a_trace_until_stock_is_received() -> Result<()> {
    let sale = Sale::of_one_unit(None, LONG_MS).await?;
    let (first, mut late) = (new_id(), new_id());
    sale.first_order(first).await?;
    // A row change from before the order may still arrive and clear the hint; the next rejection sets it again.
    eventually("an order is put off twenty times in a row without a trace", async || {
        late = new_id();
        let written = sale.engine.written(sale.shop.tenant.uuid()).await?;
        for _ in 0..20 {
            let got = sale.order(late).await?;
            if !is_put_off(&got) {
                return Ok(false);
            }
            ensure!(got.json()["retry"] == "SAME_ID", "{}", got.json());
            let seconds: u32 = got.headers["retry-after"].to_str()?.parse()?;
            ensure!((1..=LONG_MS / 1_000).contains(&seconds), "{seconds}");
        }
        assert_eq!(sale.engine.written(sale.shop.tenant.uuid()).await?, written, "a stored event or receipt");
        Ok(true)
    })
    .await?;
    // The accepted order keeps its answer.
    let again = sale.order(first).await?;
    assert_eq!((again.status, &again.json()["receipt"]["replayed"]), (200, &json!(true)));

    sale.engine.execute(&sale.owner, "ReceiveStock", &json!({ "item": sale.shop.item, "units": 1 })).await?;
    eventually("the order is accepted", async || Ok(sale.order(late).await?.status == 200)).await?;
    sale.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_without_a_refusal_leaves_no_hint() -> Result<()> {
    let server = RedisServer::start().await?;
    let sale = Sale::of_one_unit(Some(server.url.clone()), LONG_MS).await?;
    // The row of the opened item, with nothing left, and that of the received unit are projected.
    let (item, owner) = (sale.shop.item, &sale.owner);
    let levels = format!("{{ stockLevel(stockItem: \"{item}\") {{ available }} }}");
    eventually("the unit is visible", async || {
        Ok(sale.engine.query(owner, &levels).await?["stockLevel"]["available"] == 1)
    })
    .await?;
    ensure!(server.keys(":gone:").await?.is_empty(), "a hint before any order");
    sale.first_order(new_id()).await?;
    eventually("the sale of the last unit is visible", async || {
        Ok(sale.engine.query(owner, &levels).await?["stockLevel"]["available"] == 0)
    })
    .await?;
    ensure!(server.keys(":gone:").await?.is_empty(), "a hint after a sale, although no order was refused");
    hint_in_redis(&sale, &server).await?;
    sale.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_or_forged_sold_out_hint_lets_the_domain_decide_again() -> Result<()> {
    let server = RedisServer::start().await?;
    let sale = Sale::of_one_unit(Some(server.url.clone()), 500).await?;
    sale.first_order(new_id()).await?;
    let late = new_id();
    eventually("the domain rejects it when the hint has expired", async || {
        let got = sale.order(late).await?;
        ensure!(is_put_off(&got) || got.status == 409, "{}", got.json());
        Ok(got.status == 409 && got.json()["rejection"]["code"] == "OUT_OF_STOCK")
    })
    .await?;

    // Hints that are forged or put back after they expired have no effect, nor has the absence of Redis.
    let hint = hint_in_redis(&sale, &server).await?;
    eventually("the hint has expired", async || Ok(server.keys(":gone:").await?.is_empty())).await?;
    sale.engine.execute(&sale.owner, "ReceiveStock", &json!({ "item": sale.shop.item, "units": 10 })).await?;
    eventually("there is no hint", async || Ok(server.keys(":gone:").await?.is_empty())).await?;
    for forged in [hint.1.as_slice(), b"sold out", &[0; 40]] {
        let client = redis::Client::open(server.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("SET").arg(&hint.0).arg(forged).exec_async(&mut connection).await?;
        ensure!(sale.order(new_id()).await?.status == 200, "a forged hint put an order off");
    }
    server.kill().await?;
    ensure!(sale.order(new_id()).await?.status == 200, "an order is not accepted without Redis");
    sale.engine.close().await;
    Ok(())
}

/// Waits until Redis holds a hint; returns its key and its value.
async fn hint_in_redis(sale: &Sale, server: &RedisServer) -> Result<(String, Vec<u8>)> {
    let mut hint = None;
    eventually("a hint is stored", async || {
        sale.order(new_id()).await?;
        let Some(key) = server.keys(":gone:").await?.pop() else { return Ok(false) };
        hint = Some((key.clone(), server.run::<Option<Vec<u8>>>(&["GET", &key]).await?));
        Ok(hint.as_ref().is_some_and(|(_, value)| value.is_some()))
    })
    .await?;
    match hint {
        Some((key, Some(value))) => Ok((key, value)),
        _ => anyhow::bail!("no hint"),
    }
}
