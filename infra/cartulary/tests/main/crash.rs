//! A flash sale during which the engine is killed.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use cartulary::running;
use domain::inventory::HOLD_TIME;
use futures::{StreamExt, TryStreamExt, stream};
use lab::demo::client::Client;
use platform::clock::new_id;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::laws::keeps_the_laws;
use crate::process::{Desk, free_address, persist};
use crate::server::database;
use crate::shop::{Shop, caught_up, digests, eventually, rebuild_all};
use crate::timers::{timers, turn_back};

const BUYERS: usize = 1_000;
const UNITS: i64 = 100;
const CONNECTIONS: usize = 32;

/// What a buyer wanted and was told.
struct Bought {
    id: Uuid,
    order: Uuid,
    body: Value,
    answer: Value,
}

impl Bought {
    fn accepted(&self) -> bool {
        self.answer["outcome"] == "accepted"
    }
}

/// Everybody buys one, and asks again until told.
async fn sale(owner: &Client, shop: &Shop, buyers: usize, told: &AtomicUsize) -> Result<Vec<Bought>> {
    let buyers = (0..buyers).map(|_| (new_id(), new_id(), new_id()));
    stream::iter(buyers)
        .map(async |(id, order, customer)| {
            let body = shop.order(order, customer);
            let answer = persist(&[owner], "PlaceOrder", id, &body).await?;
            told.fetch_add(1, Ordering::SeqCst);
            anyhow::Ok(Bought { id, order, body, answer })
        })
        .buffer_unordered(CONNECTIONS)
        .try_collect()
        .await
}

/// Units set aside and not given back.
async fn sold(pool: &PgPool, shop: &Shop) -> Result<i64> {
    let back =
        shop.count(pool, "stock.reservation_released").await? + shop.count(pool, "stock.reservation_expired").await?;
    Ok(shop.count(pool, "stock.reserved").await? - back)
}

/// Holds whose time is over and of which nobody has said what became of them.
async fn stuck(pool: &PgPool) -> Result<i64> {
    let text = "SELECT count(*) FROM log.events r WHERE r.type = 'stock.reserved'
                  AND (r.payload->>'until')::timestamptz < now() AND NOT EXISTS (
                      SELECT FROM log.events e WHERE e.tenant = r.tenant AND e.stream_id = r.stream_id
                        AND e.type LIKE 'stock.reservation\\_%'
                        AND e.payload->>'reservation' = r.payload->>'reservation')";
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flash_sale_sells_exactly_what_there_is_though_the_engine_is_killed_in_the_middle() -> Result<()> {
    let url = database().await;
    let (desk, pool) = (Desk::new(&url).await?, running::connect(&url).await?);
    let address = free_address()?;
    let place: &[(&str, &str)] = &[("CARTULARY_LISTEN", &address)];
    let engine = desk.start_ready(place).await?;
    let (shop, owner) = desk.shop(&engine, &pool, UNITS).await?;
    let told = AtomicUsize::new(0);
    let killings = async {
        let mut engine = engine;
        // Once while there is something left, once when all is gone.
        for after in [60, 500] {
            eventually("the sale goes on", async || Ok(told.load(Ordering::SeqCst) >= after)).await?;
            engine.kill().await?;
            engine = desk.start(place).await?;
        }
        anyhow::Ok(engine)
    };
    let (bought, engine) = futures::try_join!(sale(&owner, &shop, BUYERS, &told), killings)?;
    let winners: Vec<&Bought> = bought.iter().filter(|bought| bought.accepted()).collect();
    assert_eq!(i64::try_from(winners.len())?, UNITS, "so many were told that they have one");
    assert_eq!((sold(&pool, &shop).await?, shop.count(&pool, "order.placed").await?), (UNITS, UNITS));
    assert!(bought.iter().all(|bought| bought.accepted() || bought.answer["rejection"]["code"] == "OUT_OF_STOCK"));
    for bought in bought.iter().step_by(7) {
        let again = persist(&[&owner], "PlaceOrder", bought.id, &bought.body).await?;
        assert_eq!(again["receipt"]["replayed"], true);
        assert_eq!(again["receipt"]["tenantPosition"], bought.answer["receipt"]["tenantPosition"]);
        assert_eq!(again["outcome"], bought.answer["outcome"]);
    }

    // Half of them pay; the time of the others passes while the engine is dead.
    for winner in winners.iter().step_by(2) {
        persist(&[&owner], "RecordPayment", new_id(), &shop.payment(winner.order)).await?;
    }
    eventually("a timer for every order and every hold", async || Ok(timers(&pool).await? == 2 * UNITS)).await?;
    caught_up(&pool).await?;
    engine.kill().await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live);
    turn_back(&pool, HOLD_TIME.0 + 1).await?;
    assert_eq!(stuck(&pool).await?, UNITS / 2);
    let engine = desk.start_ready(place).await?;
    eventually("no hold is stuck", async || Ok(stuck(&pool).await? == 0 && timers(&pool).await? == 0)).await?;
    assert_eq!((sold(&pool, &shop).await?, shop.count(&pool, "order.cancelled").await?), (UNITS / 2, UNITS / 2));
    let late = sale(&owner, &shop, 80, &told).await?;
    assert_eq!(i64::try_from(late.iter().filter(|bought| bought.accepted()).count())?, UNITS / 2);
    assert_eq!(sold(&pool, &shop).await?, UNITS);
    engine.stop().await?;
    keeps_the_laws(&pool).await
}
