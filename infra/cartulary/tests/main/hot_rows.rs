//! Copies of rows: never older than their named life, never shown to the wrong reader, and never needed.
//!
//! proves: ES-18

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::cli::Bearer;
use cartulary::settings::Settings;
use domain::shared::{CustomerId, Role, TenantId};
use platform::clock::{new_id, now};
use projections::kernel::{Key, Models};
use projections::ports::Checkpoint;
use serde_json::{Value, json};
use tokio::time::Instant;
use views::row_cache::{Copied, Copies, InMemory, Name, Shared};

use crate::house::FrontDoor;
use crate::redis::{RedisServer, connected};
use crate::shop::{Shop, eventually};

/// Longer than any of these tests takes, so that only news can end a copy's life.
const LONG_MS: u32 = 60_000;
/// What a question may take while Redis misbehaves, on a machine that does other things as well.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

async fn a_slow_reader_keeps_nothing(copies: Arc<dyn Copies>) -> Result<()> {
    let models = Models::all();
    let model = models.get("StockLevel").expect("a model");
    let at = |position| Checkpoint { lane: 3, position, epoch: 7 };
    let tenant = TenantId::new(new_id());
    let name = Name::of(model, tenant, &Key::of(&[new_id()]));
    let other = Name::of(model, TenantId::new(new_id()), &Key::of(&[new_id()]));
    let copy = |position| Copied { row: format!("{{\"at\":{position}}}"), at: at(position), read_at: now() };
    let found = async |name: &Name| copies.find(std::slice::from_ref(name)).await.pop().flatten();

    copies.keep(model, at(5), vec![(name.clone(), copy(5))]).await;
    ensure!(found(&name).await.is_some_and(|copy| copy.at == at(5)), "what was kept is found");
    ensure!(found(&other).await.is_none(), "and nothing else");
    copies.forget(model, &[at(6)], vec![name.clone()]).await;
    ensure!(found(&name).await.is_none(), "what has changed is forgotten");
    // She read before the change and comes after it.
    copies.keep(model, at(5), vec![(name.clone(), copy(5))]).await;
    ensure!(found(&name).await.is_none(), "an old row must not come back");
    copies.keep(model, at(6), vec![(name.clone(), copy(6))]).await;
    ensure!(found(&name).await.is_some_and(|copy| copy.at == at(6)), "a new one may");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_row_does_not_come_back_after_news_of_a_change() -> Result<()> {
    a_slow_reader_keeps_nothing(Arc::new(InMemory::default())).await?;
    let server = RedisServer::start().await?;
    let redis = connected(&server.url).await?;
    let life = Duration::from_millis(LONG_MS.into());
    a_slow_reader_keeps_nothing(Arc::new(Shared::new(redis, life))).await
}

struct Door {
    house: FrontDoor,
    shop: Shop,
    owner: String,
}

impl Door {
    async fn open(redis_url: Option<String>, life_ms: u32) -> Result<Self> {
        let settings = Settings { redis_url, row_cache_ms: Some(life_ms), ..Settings::default() };
        let house = FrontDoor::open_with(settings).await?;
        let (tenant, _) = house.tenant().await?;
        let (shop, owner) = (Shop::new(tenant), house.token(&Bearer::of(tenant, Role::Owner))?);
        let mut last = Value::Null;
        for (name, body) in shop.putting_on_sale(10) {
            last = house.done(&owner, name, &body).await?;
        }
        let door = Self { house, shop, owner };
        ensure!(door.available(last["receipt"]["token"].as_str()).await? == 10, "ten are there");
        Ok(door)
    }

    /// What a reader is told, at least as new as a receipt if she has one.
    async fn available(&self, at_least: Option<&str>) -> Result<i64> {
        let demanded = at_least.map(|token| format!(", minPosition: \"{token}\"")).unwrap_or_default();
        let query = format!("{{ stockLevel(stockItem: \"{}\"{demanded}) {{ available }} }}", self.shop.item);
        let begun = Instant::now();
        let answer = self.house.query(&self.owner, &query).await?;
        ensure!(at_least.is_some() || begun.elapsed() < ANSWERED_WITHIN, "a row took {:?}", begun.elapsed());
        Ok(answer["stockLevel"]["available"].as_i64().unwrap_or(-1))
    }

    async fn receive(&self) -> Result<String> {
        let receive = json!({ "item": self.shop.item, "units": 1 });
        let answer = self.house.done(&self.owner, "ReceiveStock", &receive).await?;
        Ok(answer["receipt"]["token"].as_str().unwrap_or_default().to_owned())
    }

    /// Takes one more in: whoever demands it sees it at once, everybody else soon.
    async fn one_more(&self, available: i64) -> Result<()> {
        let token = self.receive().await?;
        ensure!(self.available(Some(&token)).await? == available, "she sees what she did");
        eventually("everybody sees it", async || Ok(self.available(None).await? == available)).await
    }
}

async fn news_ends_copies(redis_url: Option<String>) -> Result<()> {
    let door = Door::open(redis_url, LONG_MS).await?;
    for available in 11..=30 {
        ensure!(door.available(None).await? <= available, "nobody sees the future");
        door.one_more(available).await?;
    }
    door.house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_a_change_ends_the_copy_in_memory() -> Result<()> {
    news_ends_copies(None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_a_change_ends_the_copy_in_redis() -> Result<()> {
    let server = RedisServer::start().await?;
    news_ends_copies(Some(server.url.clone())).await
}

/// The copy of the shop's stock level, as it lies in Redis; made if there is none.
async fn copy_of(door: &Door, server: &RedisServer) -> Result<(String, Vec<u8>)> {
    let mut copy = None;
    eventually("it is copied", async || {
        door.available(None).await?;
        let part = format!(":row:StockLevel*{}", door.shop.tenant);
        let Some(key) = server.keys(&part).await?.pop() else { return Ok(false) };
        let sealed: Option<Vec<u8>> = server.run(&["GET", &key]).await?;
        copy = sealed.map(|sealed| (key, sealed));
        Ok(copy.is_some())
    })
    .await?;
    copy.context("a copy")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_believed_for_its_life_and_no_longer() -> Result<()> {
    let server = RedisServer::start().await?;
    let door = Door::open(Some(server.url.clone()), 3_000).await?;
    let mut raw = redis::Client::open(server.url.as_str())?.get_multiplexed_async_connection().await?;
    let (key, old) = copy_of(&door, &server).await?;
    let token = door.receive().await?;
    ensure!(door.available(Some(&token)).await? == 11, "she sees what she did");
    // As if all news of the change had been lost: whoever demands nothing is told the old row, but not for ever.
    let begun = Instant::now();
    let mut told_old = false;
    eventually("the old copy is given up", async || {
        redis::cmd("SET").arg(&key).arg(&old).exec_async(&mut raw).await?;
        let available = door.available(None).await?;
        told_old |= available == 10;
        ensure!(door.available(Some(&token)).await? == 11, "who demands a position never gets an older row");
        Ok(available == 11)
    })
    .await?;
    ensure!(told_old, "copies are not used at all");
    ensure!(begun.elapsed() < Duration::from_secs(4), "{:?} is longer than its life", begun.elapsed());
    door.house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_lies_in_redis_the_answer_is_right() -> Result<()> {
    let server = RedisServer::start().await?;
    let (mine, other) = (Door::open(Some(server.url.clone()), 800).await?, new_id());
    let mut raw = redis::Client::open(server.url.as_str())?.get_multiplexed_async_connection().await?;
    let (key, sealed) = copy_of(&mine, &server).await?;
    tokio::time::sleep(Duration::from_millis(900)).await;
    mine.one_more(11).await?;
    // An old copy of ours, the same under a neighbour's key, a neighbour's under ours, noise, and another type.
    let neighbours = Door::open(Some(server.url.clone()), 60_000).await?;
    neighbours.receive().await?;
    let (_, foreign) = copy_of(&neighbours, &server).await?;
    let elsewhere = key.replace(&mine.shop.tenant.to_string(), &other.to_string());
    for (key, value) in
        [(&key, sealed.as_slice()), (&elsewhere, &sealed), (&key, &foreign), (&key, b"noise"), (&key, b"")]
    {
        redis::cmd("SET").arg(key).arg(value).exec_async(&mut raw).await?;
        ensure!(mine.available(None).await? == 11, "a foreign value was believed");
    }
    redis::cmd("DEL").arg(&key).exec_async(&mut raw).await?;
    redis::cmd("HSET").arg(&key).arg("a").arg("b").exec_async(&mut raw).await?;
    for told in server.keys(":told:").await? {
        redis::cmd("DEL").arg(&told).exec_async(&mut raw).await?;
        redis::cmd("LPUSH").arg(&told).arg("x").exec_async(&mut raw).await?;
    }
    ensure!(mine.available(None).await? == 11, "a foreign type was believed");
    mine.one_more(12).await?;
    mine.house.close().await;
    neighbours.house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_becomes_of_redis_reads_and_commands_go_on() -> Result<()> {
    let mut server = RedisServer::start().await?;
    let door = Door::open(Some(server.url.clone()), 500).await?;
    door.one_more(11).await?;
    server.run::<()>(&["FLUSHALL"]).await?;
    door.one_more(12).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    door.one_more(13).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    server.freeze()?;
    door.one_more(14).await?;
    let reason = door.house.reason().await?;
    ensure!(reason["ready"] == true && reason["degraded"][0].as_str().is_some(), "{reason}");
    server.thaw()?;
    door.one_more(15).await?;
    server.kill().await?;
    door.one_more(16).await?;
    server.come_back().await?;
    eventually("it is well again", async || Ok(door.house.reason().await?["degraded"] == json!([]))).await?;
    door.one_more(17).await?;
    eventually("copies are kept again", async || {
        door.available(None).await?;
        Ok(!server.keys(":row:StockLevel").await?.is_empty())
    })
    .await?;
    door.house.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_one_reader_made_is_not_shown_to_another() -> Result<()> {
    let server = RedisServer::start().await?;
    let door = Door::open(Some(server.url.clone()), LONG_MS).await?;
    let (ada, eve) = (new_id(), new_id());
    let token = |customer| door.house.token(&Bearer::customer(door.shop.tenant, CustomerId::new(customer)));
    let order = new_id();
    door.house.done(&token(ada)?, "PlaceOrder", &door.shop.order(order, ada)).await?;
    let query = format!("{{ order(order: \"{order}\") {{ status }} }}");
    let sees = async |token: &str| Ok(door.house.query(token, &query).await?["order"].is_object());
    eventually("she sees her order", async || sees(&token(ada)?).await).await?;
    eventually("it is copied", async || {
        sees(&token(ada)?).await?;
        Ok(!server.keys(":row:Order.").await?.is_empty())
    })
    .await?;
    ensure!(!sees(&token(eve)?).await?, "somebody else's order was shown");
    ensure!(sees(&door.owner).await?, "the shop sees it");
    let rival = door.house.token(&Bearer::of(TenantId::new(new_id()), Role::Owner))?;
    ensure!(!sees(&rival).await?, "another tenant's order was shown");
    door.house.close().await;
    Ok(())
}
