//! A crowd is kept away from what is gone, for a short time, and nobody is refused for good by that.

use std::time::Duration;

use anyhow::{Result, ensure};
use domain::shared::{CustomerId, Role};
use infra::cli::Bearer;
use infra::scribe::new_id;
use infra::settings::Settings;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::house::{FrontDoor, Got};
use crate::redis::RedisServer;
use crate::shop::{Shop, eventually};

struct Sale {
    house: FrontDoor,
    shop: Shop,
    owner: String,
}

impl Sale {
    async fn of_one_unit(redis_url: Option<String>, sold_out_hint_ms: u32) -> Result<Self> {
        let house = FrontDoor::open_with(Settings { redis_url, sold_out_hint_ms, ..Settings::default() }).await?;
        let (tenant, _) = house.tenant().await?;
        let (shop, owner) = (Shop::new(tenant), house.token(&Bearer::of(tenant, Role::Owner))?);
        for (name, body) in shop.putting_on_sale(1) {
            house.done(&owner, name, &body).await?;
        }
        Ok(Self { house, shop, owner })
    }

    async fn order(&self, order: Uuid) -> Result<Got> {
        let token = self.house.token(&Bearer::customer(self.shop.tenant, CustomerId::new(order)))?;
        self.house.command(&token, "PlaceOrder", order, &self.shop.order(order, order)).await
    }
}

fn is_put_off(got: &Got) -> bool {
    got.status == 503 && got.json()["code"] == "SOLD_OUT_FOR_NOW"
}

async fn keeps_a_crowd_away(redis_url: Option<String>) -> Result<()> {
    let sale = Sale::of_one_unit(redis_url, 5_000).await?;
    let (first, late) = (new_id(), new_id());
    ensure!(sale.order(first).await?.status == 200, "the first one has it");
    eventually("the others are told to come back", async || Ok(is_put_off(&sale.order(new_id()).await?))).await?;
    let written = sale.house.written(sale.shop.tenant.uuid()).await?;
    for _ in 0..20 {
        let got = sale.order(late).await?;
        ensure!(is_put_off(&got) && got.json()["retry"] == "SAME_ID", "{}", got.json());
        let seconds: u32 = got.headers["retry-after"].to_str()?.parse()?;
        ensure!((1..=5).contains(&seconds), "{seconds}");
    }
    assert_eq!(sale.house.written(sale.shop.tenant.uuid()).await?, written, "nothing is stored");
    // Who has it gets her receipt, as often as she asks.
    let again = sale.order(first).await?;
    assert_eq!((again.status, &again.json()["receipt"]["replayed"]), (200, &json!(true)));

    let begun = Instant::now();
    sale.house.done(&sale.owner, "ReceiveStock", &json!({ "item": sale.shop.item, "units": 1 })).await?;
    eventually("there is one again", async || Ok(sale.order(late).await?.status == 200)).await?;
    assert!(begun.elapsed() < Duration::from_secs(4), "at once, and not when the mark has passed");
    sale.house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_told_to_come_back_and_nothing_is_stored() -> Result<()> {
    keeps_a_crowd_away(None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_is_told_the_same_by_all_processes_with_redis() -> Result<()> {
    let server = RedisServer::start().await?;
    keeps_a_crowd_away(Some(server.url.clone())).await?;
    assert!(server.keys(":gone:").await?.is_empty(), "cleared at once");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_put_off_is_decided_truly_after_a_bounded_time() -> Result<()> {
    let server = RedisServer::start().await?;
    let sale = Sale::of_one_unit(Some(server.url.clone()), 500).await?;
    ensure!(sale.order(new_id()).await?.status == 200, "the first one has it");
    let late = new_id();
    eventually("it is refused by the business in the end", async || {
        let got = sale.order(late).await?;
        ensure!(is_put_off(&got) || got.status == 409, "{}", got.json());
        Ok(got.status == 409 && got.json()["rejection"]["code"] == "OUT_OF_STOCK")
    })
    .await?;

    // A mark that somebody made up, or put back, keeps nobody away; neither does a Redis that is gone.
    let mark = eventually_marked(&sale, &server).await?;
    tokio::time::sleep(Duration::from_millis(600)).await;
    sale.house.done(&sale.owner, "ReceiveStock", &json!({ "item": sale.shop.item, "units": 10 })).await?;
    eventually("the mark is gone", async || Ok(server.keys(":gone:").await?.is_empty())).await?;
    for forged in [mark.1.as_slice(), b"sold out", &[0; 40]] {
        let client = redis::Client::open(server.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("SET").arg(&mark.0).arg(forged).exec_async(&mut connection).await?;
        ensure!(sale.order(new_id()).await?.status == 200, "a forged mark kept somebody away");
    }
    server.kill().await?;
    ensure!(sale.order(new_id()).await?.status == 200, "nobody needs Redis to buy");
    sale.house.close().await;
    Ok(())
}

/// Waits until something is marked; its key and its value.
async fn eventually_marked(sale: &Sale, server: &RedisServer) -> Result<(String, Vec<u8>)> {
    let mut mark = None;
    eventually("it is marked", async || {
        sale.order(new_id()).await?;
        let Some(key) = server.keys(":gone:").await?.pop() else { return Ok(false) };
        mark = Some((key.clone(), server.run::<Option<Vec<u8>>>(&["GET", &key]).await?));
        Ok(mark.as_ref().is_some_and(|(_, value)| value.is_some()))
    })
    .await?;
    match mark {
        Some((key, Some(value))) => Ok((key, value)),
        _ => anyhow::bail!("no mark"),
    }
}
