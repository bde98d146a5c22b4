//! A flash sale during which the engine is killed.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use domain::inventory::HOLD_TIME;
use futures::{StreamExt, TryStreamExt, stream};
use lab::demo::client::Client;
use lab::harness::{
    Cluster, Shop, age_by, caught_up, database, digests, eventually, free_address, pending_timers, rebuild_all,
    send_until_decided,
};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

const BUYERS: usize = 1_000;
const UNITS: i64 = 100;
const CONNECTIONS: usize = 32;

/// Command that places an order, with its answer.
struct Purchase {
    id: Uuid,
    order: Uuid,
    body: Value,
    answer: Value,
}

impl Purchase {
    fn accepted(&self) -> bool {
        self.answer["outcome"] == "accepted"
    }
}

/// Places orders, sending each again until it is decided. `answered` counts the decided ones.
async fn sale(owner: &Client, shop: &Shop, buyers: usize, answered: &AtomicUsize) -> Result<Vec<Purchase>> {
    let buyers = (0..buyers).map(|_| (new_id(), new_id(), new_id()));
    stream::iter(buyers)
        .map(async |(id, order, customer)| {
            let body = shop.order(order, customer);
            let answer = send_until_decided(&[owner], "PlaceOrder", id, &body).await?;
            answered.fetch_add(1, Ordering::SeqCst);
            anyhow::Ok(Purchase { id, order, body, answer })
        })
        .buffer_unordered(CONNECTIONS)
        .try_collect()
        .await
}

/// Reserved units that were not released.
async fn sold(pool: &PgPool, shop: &Shop) -> Result<i64> {
    let back =
        shop.count(pool, "stock.reservation_released").await? + shop.count(pool, "stock.reservation_expired").await?;
    Ok(shop.count(pool, "stock.reserved").await? - back)
}

/// Counts the reservations whose time is over and that neither expired nor were released or committed.
async fn overdue(pool: &PgPool) -> Result<i64> {
    let text = "SELECT count(*) FROM log.events r WHERE r.type = 'stock.reserved'
                  AND (r.payload->>'until')::timestamptz < now() AND NOT EXISTS (
                      SELECT FROM log.events e WHERE e.tenant = r.tenant AND e.stream_id = r.stream_id
                        AND e.type LIKE 'stock.reservation\\_%'
                        AND e.payload->>'reservation' = r.payload->>'reservation')";
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flash_sale_sells_exactly_the_stock_when_the_engine_is_killed_in_the_middle() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let address = free_address()?;
    let place: &[(&str, &str)] = &[("CARTULARY_LISTEN", &address)];
    let engine = cluster.start_ready(place).await?;
    let (shop, owner) = cluster.shop(&engine, &pool, UNITS).await?;
    let answered = AtomicUsize::new(0);
    let killings = async {
        let mut engine = engine;
        // Once while there is stock left, once when there is none.
        for after in [60, 500] {
            eventually("the sale goes on", async || Ok(answered.load(Ordering::SeqCst) >= after)).await?;
            engine.kill().await?;
            engine = cluster.start(place).await?;
        }
        anyhow::Ok(engine)
    };
    let (purchases, engine) = futures::try_join!(sale(&owner, &shop, BUYERS, &answered), killings)?;
    let winners: Vec<&Purchase> = purchases.iter().filter(|purchase| purchase.accepted()).collect();
    assert_eq!(i64::try_from(winners.len())?, UNITS, "accepted orders");
    assert_eq!((sold(&pool, &shop).await?, shop.count(&pool, "order.placed").await?), (UNITS, UNITS));
    assert!(
        purchases.iter().all(|purchase| purchase.accepted() || purchase.answer["rejection"]["code"] == "OUT_OF_STOCK")
    );
    for purchase in purchases.iter().step_by(7) {
        let again = send_until_decided(&[&owner], "PlaceOrder", purchase.id, &purchase.body).await?;
        assert_eq!(again["receipt"]["replayed"], true);
        assert_eq!(again["receipt"]["tenantPosition"], purchase.answer["receipt"]["tenantPosition"]);
        assert_eq!(again["outcome"], purchase.answer["outcome"]);
    }

    // Half of the orders are paid; the time of the others passes while no engine runs.
    for winner in winners.iter().step_by(2) {
        send_until_decided(&[&owner], "RecordPayment", new_id(), &shop.payment(winner.order)).await?;
    }
    // Each unpaid order has a timer of its own and one of its reservation.
    eventually("a timer for every unpaid order and every hold", async || Ok(pending_timers(&pool).await? == UNITS))
        .await?;
    caught_up(&pool).await?;
    engine.kill().await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live);
    proofs::proven("ES-05 after kills the rows still belong to their checkpoints, and equal a rebuild");
    age_by(&pool, HOLD_TIME.0 + 1).await?;
    assert_eq!(overdue(&pool).await?, UNITS / 2);
    let engine = cluster.start_ready(place).await?;
    eventually("no reservation is overdue", async || {
        Ok(overdue(&pool).await? == 0 && pending_timers(&pool).await? == 0)
    })
    .await?;
    assert_eq!((sold(&pool, &shop).await?, shop.count(&pool, "order.cancelled").await?), (UNITS / 2, UNITS / 2));
    let late = sale(&owner, &shop, 80, &answered).await?;
    assert_eq!(i64::try_from(late.iter().filter(|purchase| purchase.accepted()).count())?, UNITS / 2);
    assert_eq!(sold(&pool, &shop).await?, UNITS);
    engine.stop().await?;
    check_log_invariants(&pool).await
}
