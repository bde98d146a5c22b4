//! Row cache: no row older than its bound, no row for the wrong reader, and no need of Redis.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cartulary::cli::Bearer;
use cartulary::settings::Settings;
use domain::shared::{CustomerId, Role, TenantId};
use lab::harness::{Engine, RedisServer, Shop, connect_redis, database, eventually, lane_head, restore_lane};
use platform::clock::{new_id, now};
use projections::kernel::{Key, Models};
use projections::ports::Checkpoint;
use serde_json::{Value, json};
use views::row_cache::{CachedRow, MemoryRowCache, RedisRowCache, RowCacheKey, RowCacheStore};

/// Time to live of a cached row that no test outlives, so that only a row notice removes it.
const LONG_MS: u32 = 3_600_000;

/// Stores, after a change, a row that was read before the change.
async fn late_reader_stores_no_old_row(cache: Arc<dyn RowCacheStore>) -> Result<()> {
    let models = Models::all();
    let model = models.get("StockLevel").expect("a model");
    let at = |position| Checkpoint { lane: 3, position, epoch: 7 };
    let tenant = TenantId::new(new_id());
    let key = RowCacheKey::of(model, tenant, &Key::of(&[new_id()]));
    let other = RowCacheKey::of(model, TenantId::new(new_id()), &Key::of(&[new_id()]));
    let row = |position| CachedRow { row: format!("{{\"at\":{position}}}"), at: at(position), read_at: now() };
    let found = async |key: &RowCacheKey| cache.get(std::slice::from_ref(key)).await.pop().flatten();

    cache.put(model, at(5), vec![(key.clone(), row(5))]).await;
    ensure!(found(&key).await.is_some_and(|row| row.at == at(5)), "a stored row is found");
    ensure!(found(&other).await.is_none(), "no other row is found");
    cache.invalidate(model, &[at(6)], vec![key.clone()]).await;
    ensure!(found(&key).await.is_none(), "a changed row is removed");
    cache.put(model, at(5), vec![(key.clone(), row(5))]).await;
    ensure!(found(&key).await.is_none(), "an old row came back");
    cache.put(model, at(6), vec![(key.clone(), row(6))]).await;
    ensure!(found(&key).await.is_some_and(|row| row.at == at(6)), "a new row is stored");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_row_is_not_stored_after_a_notice_of_its_change() -> Result<()> {
    late_reader_stores_no_old_row(Arc::new(MemoryRowCache::default())).await?;
    let server = RedisServer::start().await?;
    let redis = connect_redis(&server.url).await?;
    let life = Duration::from_millis(LONG_MS.into());
    late_reader_stores_no_old_row(Arc::new(RedisRowCache::new(redis, life))).await
}

/// An engine with a shop, and a token of its owner.
struct CachedShop {
    engine: Engine,
    shop: Shop,
    owner: String,
}

impl CachedShop {
    async fn open(redis_url: Option<String>, life_ms: u32) -> Result<Self> {
        Self::open_on(database().await, redis_url, life_ms).await
    }

    async fn open_on(url: String, redis_url: Option<String>, life_ms: u32) -> Result<Self> {
        let settings = Settings { redis_url, row_cache_ms: Some(life_ms), ..Settings::default() };
        let engine = Engine::start_on_with(url, settings).await?;
        let (tenant, _) = engine.tenant().await?;
        let (shop, owner) = (Shop::new(tenant), engine.token(&Bearer::of(tenant, Role::Owner))?);
        let mut last = Value::Null;
        for (name, body) in shop.setup_commands(10) {
            last = engine.execute(&owner, name, &body).await?;
        }
        let shop = Self { engine, shop, owner };
        ensure!(shop.available(last["receipt"]["token"].as_str()).await? == 10, "ten units are available");
        Ok(shop)
    }

    /// Queries the available units; with a freshness token, at least as new as its receipt.
    async fn available(&self, at_least: Option<&str>) -> Result<i64> {
        let demanded = at_least.map(|token| format!(", minPosition: \"{token}\"")).unwrap_or_default();
        let query = format!("{{ stockLevel(stockItem: \"{}\"{demanded}) {{ available }} }}", self.shop.item);
        let answer = self.engine.query(&self.owner, &query).await?;
        Ok(answer["stockLevel"]["available"].as_i64().unwrap_or(-1))
    }

    async fn receive(&self) -> Result<String> {
        let receive = json!({ "item": self.shop.item, "units": 1 });
        let answer = self.engine.execute(&self.owner, "ReceiveStock", &receive).await?;
        Ok(answer["receipt"]["token"].as_str().unwrap_or_default().to_owned())
    }

    /// Receives one unit: a reader with the receipt sees it at once, all others soon.
    async fn one_more(&self, available: i64) -> Result<()> {
        let token = self.receive().await?;
        ensure!(self.available(Some(&token)).await? == available, "the receipt shows an older row");
        eventually("a reader without a receipt sees it", async || Ok(self.available(None).await? == available)).await
    }
}

async fn changes_end_cached_rows(redis_url: Option<String>) -> Result<()> {
    let shop = CachedShop::open(redis_url, LONG_MS).await?;
    for available in 11..=30 {
        ensure!(shop.available(None).await? <= available, "a row from the future");
        shop.one_more(available).await?;
    }
    shop.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_ends_the_row_that_is_cached_in_memory() -> Result<()> {
    changes_end_cached_rows(None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_ends_the_row_that_is_cached_in_redis() -> Result<()> {
    let server = RedisServer::start().await?;
    changes_end_cached_rows(Some(server.url.clone())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_ends_the_balance_and_the_configuration_that_are_cached_in_redis() -> Result<()> {
    let server = RedisServer::start().await?;
    let CachedShop { engine, shop, owner } = CachedShop::open(Some(server.url.clone()), LONG_MS).await?;
    let customer = new_id();
    let rules = |points| json!({ "purchase": { "points": points, "per_minor": 100 }, "signup": null });
    let adjust = |change| json!({ "customer": customer, "change": change, "reason": "sorry" });
    let person = json!({ "customer": customer, "name": "Ada", "email": "ada@example.org", "phone": null });
    engine.execute(&owner, "SetEarningRules", &rules(2)).await?;
    engine.execute(&owner, "EnableProgram", &json!({})).await?;
    engine.execute(&owner, "RegisterCustomer", &person).await?;
    engine.execute(&owner, "AdjustPoints", &adjust(2)).await?;
    for (model, key, column, command, body, after) in [
        ("PointsBalance", format!("customer: \"{customer}\""), "balance", "AdjustPoints", adjust(3), 5),
        ("LoyaltyProgram", format!("program: \"{}\"", shop.tenant), "points", "SetEarningRules", rules(5), 5),
    ] {
        let field = Models::all().get(model).expect("a model").field();
        let value = async |demanded: &str| {
            let query = format!("{{ {field}({key}{demanded}) {{ {column} }} }}");
            anyhow::Ok(engine.query(&owner, &query).await?[&field][column].as_i64())
        };
        let part = format!(":row:{model}*{}", shop.tenant);
        eventually("the row is cached", async || {
            Ok(value("").await? == Some(2) && !server.keys(&part).await?.is_empty())
        })
        .await?;
        let answer = engine.execute(&owner, command, &body).await?;
        let token = answer["receipt"]["token"].as_str().context("a token")?;
        ensure!(value(&format!(", minPosition: \"{token}\"")).await? == Some(after), "an older row of {model}");
        eventually("a reader without a receipt sees it", async || Ok(value("").await? == Some(after))).await?;
    }
    engine.close().await;
    Ok(())
}

/// Key and value of the shop's stock level in Redis; the row is read until it is cached.
async fn cached_stock_level(shop: &CachedShop, server: &RedisServer) -> Result<(String, Vec<u8>)> {
    let mut row = None;
    eventually("the row is cached", async || {
        shop.available(None).await?;
        let part = format!(":row:StockLevel*{}", shop.shop.tenant);
        let Some(key) = server.keys(&part).await?.pop() else { return Ok(false) };
        let sealed: Option<Vec<u8>> = server.run(&["GET", &key]).await?;
        row = sealed.map(|sealed| (key, sealed));
        Ok(row.is_some())
    })
    .await?;
    row.context("a cached row")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_row_is_used_for_its_lifetime_and_no_longer() -> Result<()> {
    let server = RedisServer::start().await?;
    let shop = CachedShop::open(Some(server.url.clone()), 20_000).await?;
    let mut raw = redis::Client::open(server.url.as_str())?.get_multiplexed_async_connection().await?;
    let (key, old) = cached_stock_level(&shop, &server).await?;
    let token = shop.receive().await?;
    ensure!(shop.available(Some(&token)).await? == 11, "the receipt shows an older row");
    // The old value is put back again and again, as if every notice of the change were lost.
    let mut available = async || {
        redis::cmd("SET").arg(&key).arg(&old).exec_async(&mut raw).await?;
        let available = shop.available(None).await?;
        ensure!(shop.available(Some(&token)).await? == 11, "a row older than the receipt");
        Ok(available)
    };
    // On a busy machine Redis may answer too late; the row is then read from the database.
    eventually("the cached row is used", async || Ok(available().await? == 10)).await?;
    eventually("the cached row has expired", async || {
        let rows = [available().await?, available().await?, available().await?];
        Ok(rows == [11; 3])
    })
    .await?;
    shop.engine.close().await;
    Ok(())
}

/// A restore of the database to an earlier moment, after which Redis still has rows of the lost future.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_of_a_lost_history_is_not_served_although_redis_has_kept_it() -> Result<()> {
    let (server, url) = (RedisServer::start().await?, database().await);
    let mut shop = CachedShop::open_on(url.clone(), Some(server.url.clone()), LONG_MS).await?;
    let pool = platform::database::connect(&url).await?;
    let lane = shop.shop.lane(&pool).await?;
    let kept = lane_head(&pool, lane).await?;
    shop.one_more(11).await?;
    let (key, _) = cached_stock_level(&shop, &server).await?;
    shop.engine.close().await;
    restore_lane(&pool, lane, kept).await?;
    let redis_url = Some(server.url.clone());
    let settings = Settings { redis_url, row_cache_ms: Some(LONG_MS), ..Settings::default() };
    shop.engine = Engine::start_on_with(url, settings).await?;
    ensure!(server.run::<Option<Vec<u8>>>(&["GET", &key]).await?.is_some(), "Redis has lost the row");
    eventually("the restored row is served", async || Ok(shop.available(None).await? == 10)).await?;
    shop.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_values_in_redis_are_not_shown() -> Result<()> {
    let server = RedisServer::start().await?;
    let (mine, other) = (CachedShop::open(Some(server.url.clone()), 800).await?, new_id());
    let mut raw = redis::Client::open(server.url.as_str())?.get_multiplexed_async_connection().await?;
    let (key, sealed) = cached_stock_level(&mine, &server).await?;
    eventually("the row has expired", async || Ok(server.run::<Option<Vec<u8>>>(&["GET", &key]).await?.is_none()))
        .await?;
    mine.one_more(11).await?;
    // An expired row, the same under another tenant's key, another tenant's row, noise, and another type.
    let other_shop = CachedShop::open(Some(server.url.clone()), LONG_MS).await?;
    other_shop.receive().await?;
    let (_, foreign) = cached_stock_level(&other_shop, &server).await?;
    let elsewhere = key.replace(&mine.shop.tenant.to_string(), &other.to_string());
    for (key, value) in
        [(&key, sealed.as_slice()), (&elsewhere, &sealed), (&key, &foreign), (&key, b"noise"), (&key, b"")]
    {
        redis::cmd("SET").arg(key).arg(value).exec_async(&mut raw).await?;
        ensure!(mine.available(None).await? == 11, "a foreign value was shown");
    }
    redis::cmd("DEL").arg(&key).exec_async(&mut raw).await?;
    redis::cmd("HSET").arg(&key).arg("a").arg("b").exec_async(&mut raw).await?;
    for announced in server.keys(":told:").await? {
        redis::cmd("DEL").arg(&announced).exec_async(&mut raw).await?;
        redis::cmd("LPUSH").arg(&announced).arg("x").exec_async(&mut raw).await?;
    }
    ensure!(mine.available(None).await? == 11, "a value of a foreign type was shown");
    mine.one_more(12).await?;
    mine.engine.close().await;
    other_shop.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_commands_go_on_while_redis_is_empty_full_frozen_or_killed() -> Result<()> {
    let mut server = RedisServer::start().await?;
    let shop = CachedShop::open(Some(server.url.clone()), 500).await?;
    shop.one_more(11).await?;
    server.run::<()>(&["FLUSHALL"]).await?;
    shop.one_more(12).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    shop.one_more(13).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    server.freeze()?;
    shop.one_more(14).await?;
    let reason = shop.engine.reason().await?;
    ensure!(reason["ready"] == true && reason["degraded"][0].as_str().is_some(), "{reason}");
    server.thaw()?;
    shop.one_more(15).await?;
    server.kill().await?;
    shop.one_more(16).await?;
    server.restart().await?;
    eventually("Redis is used again", async || Ok(shop.engine.reason().await?["degraded"] == json!([]))).await?;
    shop.one_more(17).await?;
    eventually("rows are cached again", async || {
        shop.available(None).await?;
        Ok(!server.keys(":row:StockLevel").await?.is_empty())
    })
    .await?;
    shop.engine.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_that_one_reader_cached_is_not_shown_to_another() -> Result<()> {
    let server = RedisServer::start().await?;
    let shop = CachedShop::open(Some(server.url.clone()), LONG_MS).await?;
    let (ada, eve) = (new_id(), new_id());
    let token = |customer| shop.engine.token(&Bearer::customer(shop.shop.tenant, CustomerId::new(customer)));
    let order = new_id();
    shop.engine.execute(&token(ada)?, "PlaceOrder", &shop.shop.order(order, ada)).await?;
    let query = format!("{{ order(order: \"{order}\") {{ status }} }}");
    let sees = async |token: &str| Ok(shop.engine.query(token, &query).await?["order"].is_object());
    eventually("the customer sees the order", async || sees(&token(ada)?).await).await?;
    eventually("the row is cached", async || {
        sees(&token(ada)?).await?;
        Ok(!server.keys(":row:Order.").await?.is_empty())
    })
    .await?;
    ensure!(!sees(&token(eve)?).await?, "another customer's order was shown");
    ensure!(sees(&shop.owner).await?, "the shop does not see the order");
    let rival = shop.engine.token(&Bearer::of(TenantId::new(new_id()), Role::Owner))?;
    ensure!(!sees(&rival).await?, "another tenant's order was shown");
    shop.engine.close().await;
    Ok(())
}
