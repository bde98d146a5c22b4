//! Rows and tables of read models that are broken: they hold up nothing else, are shown, and are built again.

use std::sync::Arc;

use anyhow::{Result, ensure};
use event_log::{LaneCount, StoreFeed};
use lab::harness::{Backend, Shop, caught_up, database, digests, eventually, rebuild_all};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use projections::kernel::Models;
use scribe::presence;
use serde_json::json;
use sqlx::{Executor, PgPool};
use tokio_util::sync::CancellationToken;
use views::follower::ReadModelFollower;

/// More events than the projector reads at a time.
const EVENTS: usize = 2_400;

/// Receives one unit `count` times.
pub(crate) async fn receive(backend: &Backend, shop: &Shop, count: usize) -> Result<()> {
    let body = json!({ "item": shop.item, "units": 1 });
    let mut commands = Vec::with_capacity(count);
    for _ in 0..count {
        commands.push(backend.envelope(shop.tenant, "ReceiveStock", new_id(), &body).await?);
    }
    let answers = backend.scribe.submit(shop.tenant, false, commands).await;
    let accepted = answers.iter().filter(|answer| matches!(answer, commands::scribe::Answer::Settled { .. })).count();
    ensure!(accepted == count, "{accepted} of {count} were accepted");
    Ok(())
}

/// A second product of the same tenant.
async fn second_product(backend: &Backend, shop: &Shop, units: i64) -> Result<Shop> {
    let other = Shop::new(shop.tenant);
    for (name, body) in other.setup_commands(units) {
        backend.execute(shop.tenant, name, &body).await?;
    }
    Ok(other)
}

pub(crate) async fn on_hand(pool: &PgPool, shop: &Shop) -> Result<i64> {
    let text = "SELECT on_hand FROM reads.stock_levels WHERE tenant = $1 AND stock_item = $2";
    Ok(sqlx::query_scalar(text).bind(shop.tenant.uuid()).bind(shop.item.uuid()).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_that_cannot_be_read_is_parked_shown_and_rebuilt_while_everything_else_goes_on() -> Result<()> {
    let mut backend = Backend::start(&database().await).await?;
    let shop = backend.shop(10).await?;
    let other = second_product(&backend, &shop, 10).await?;
    backend.run_read_models();
    let pool = backend.pool.clone();
    caught_up(&pool).await?;
    // With an unreadable event the row cannot be rebuilt at once either.
    let broken_row = "UPDATE reads.stock_levels SET status = 'bogus' WHERE stock_item = $1";
    sqlx::query(broken_row).bind(shop.item.uuid()).execute(&pool).await?;
    let broken_event = "UPDATE log.events SET payload = json_build_object('broken', payload)
                        WHERE stream_id = $1 AND type = 'stock.received'";
    sqlx::query(broken_event).bind(shop.item.uuid()).execute(&pool).await?;
    receive(&backend, &shop, 1).await?;
    receive(&backend, &other, EVENTS).await?;
    caught_up(&pool).await?;
    assert_eq!(on_hand(&pool, &other).await?, 10 + i64::try_from(EVENTS)?);
    let item = shop.item.to_string();
    eventually("the parked key is shown", async || {
        let shown = backend.health.degradations();
        Ok(shown.iter().any(|line| line.contains("StockLevel") && line.contains(&item)))
    })
    .await?;

    let repaired =
        "UPDATE log.events SET payload = payload->'broken' WHERE stream_id = $1 AND payload->'broken' IS NOT NULL";
    sqlx::query(repaired).bind(shop.item.uuid()).execute(&pool).await?;
    eventually("the row is rebuilt", async || Ok(on_hand(&pool, &shop).await? == 11)).await?;
    eventually("nothing is parked", async || {
        let parked: i64 = sqlx::query_scalar("SELECT count(*) FROM reads.parked").fetch_one(&pool).await?;
        Ok(parked == 0 && backend.health.degradations().is_empty())
    })
    .await?;
    receive(&backend, &shop, 1).await?;
    caught_up(&pool).await?;
    assert_eq!(on_hand(&pool, &shop).await?, 12);
    backend.close().await;
    let pool = reopened(&pool).await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live);
    check_log_invariants(&pool).await
}

/// New connections to the database of a closed pool.
pub(crate) async fn reopened(pool: &PgPool) -> Result<PgPool> {
    Ok(PgPool::connect_with((*pool.connect_options()).clone()).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_that_cannot_be_written_holds_up_its_model_alone() -> Result<()> {
    let mut backend = Backend::start(&database().await).await?;
    let shop = backend.shop(10).await?;
    backend.run_read_models();
    let pool = backend.pool.clone();
    caught_up(&pool).await?;
    let models = Models::all();
    let table = models.get("StockMovement").map(|model| model.table()).expect("a read model");
    let rename = |from: &str, to: &str| format!("ALTER TABLE reads.{from} RENAME TO {to}");
    pool.execute(&*rename(&table, "away")).await?;
    for _ in 0..3 {
        receive(&backend, &shop, EVENTS / 2).await?;
    }
    // The events are more than one batch, and the others go on after the last one too.
    let at_the_end = "SELECT count(*) FROM reads.live v JOIN reads.checkpoints c USING (model, shape)
                      JOIN LATERAL (SELECT coalesce(max(e.position), 0) AS position FROM log.events e
                                    WHERE e.lane = c.lane) head ON head.position = c.position WHERE v.model <> 'StockMovement'";
    let all = i64::try_from(models.iter().count() - 1)? * i64::try_from(LaneCount::DEFAULT.get())?;
    eventually("the other models are at the end of the log", async || {
        Ok(sqlx::query_scalar::<_, i64>(at_the_end).fetch_one(&pool).await? == all)
    })
    .await?;
    assert_eq!(on_hand(&pool, &shop).await?, 10 + i64::try_from(EVENTS / 2 * 3)?);
    eventually("the model is shown", async || {
        Ok(backend.health.degradations().iter().any(|line| line.contains("StockMovement does not advance")))
    })
    .await?;
    pool.execute(&*rename("away", &table)).await?;
    caught_up(&pool).await?;
    eventually("nothing is shown", async || Ok(backend.health.degradations().is_empty())).await?;
    backend.close().await;
    let pool = reopened(&pool).await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_with_an_unreadable_payload_parks_its_stream_alone() -> Result<()> {
    parks_one_stream("payload").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_with_unreadable_metadata_parks_its_stream_alone() -> Result<()> {
    parks_one_stream("meta").await
}

/// Breaks a column of one event, and repairs it.
async fn parks_one_stream(column: &str) -> Result<()> {
    let url = database().await;
    let backend = Backend::start(&url).await?;
    let shop = backend.shop(10).await?;
    let (broken, sound) = (new_id(), new_id());
    for order in [broken, sound] {
        backend.execute(shop.tenant, "PlaceOrder", &shop.order(order, new_id())).await?;
        backend.execute(shop.tenant, "RecordPayment", &shop.payment(order)).await?;
    }
    let break_it = format!(
        "UPDATE log.events SET {column} = json_build_object('broken', {column})
         WHERE stream_id = $1 AND type = 'order.placed'"
    );
    sqlx::query(&break_it).bind(broken).execute(&backend.pool).await?;
    // The scribe that wrote the event has it in memory, so it is replaced by one that has not.
    backend.close().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_read_models();
    let pool = backend.pool.clone();
    caught_up(&pool).await?;
    let orders = "SELECT payment FROM reads.orders WHERE tenant = $1";
    let orders = async || -> Result<Vec<String>> {
        Ok(sqlx::query_scalar(orders).bind(shop.tenant.uuid()).fetch_all(&pool).await?)
    };
    assert_eq!(orders().await?, ["paid"]);
    assert_eq!(on_hand(&pool, &shop).await?, 10);
    eventually("the parked stream is shown", async || {
        let shown = backend.health.degradations();
        Ok(shown.iter().any(|line| line.contains(&format!("in the stream Order {broken}"))))
    })
    .await?;

    let repair_it =
        format!("UPDATE log.events SET {column} = {column}->'broken' WHERE stream_id = $1 AND type = 'order.placed'");
    sqlx::query(&repair_it).bind(broken).execute(&pool).await?;
    eventually("nothing is parked", async || {
        let parked: i64 = sqlx::query_scalar("SELECT count(*) FROM reads.parked").fetch_one(&pool).await?;
        Ok(parked == 0 && backend.health.degradations().is_empty())
    })
    .await?;
    assert_eq!(orders().await?, ["paid", "paid"]);
    backend.execute(shop.tenant, "RejectOrder", &json!({ "order": broken, "reason": "sold out" })).await?;
    caught_up(&pool).await?;
    backend.close().await;
    let pool = reopened(&pool).await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live);
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_parked_stream_is_repaired_while_it_grows() -> Result<()> {
    let backend = Backend::start(&database().await).await?;
    let (shop, pool) = (backend.shop(1_000_000).await?, backend.pool.clone());
    let broken = "UPDATE log.events SET payload = json_build_object('broken', payload)
                  WHERE stream_id = $1 AND type = 'stock.received'";
    sqlx::query(broken).bind(shop.item.uuid()).execute(&pool).await?;
    // The scribe has the state of the stream in memory. The read models read the broken event from the log.
    let feed = StoreFeed::new(pool.clone(), None);
    let (models, written) = (Arc::new(Models::all()), backend.scribe.written());
    let follower = ReadModelFollower::new(pool.clone(), models, feed, presence::all_lanes(LaneCount::DEFAULT), written);
    let stop = CancellationToken::new();
    let following = tokio::spawn(follower.run(stop.clone()));
    receive(&backend, &shop, EVENTS).await?;
    caught_up(&pool).await?;
    let parked =
        async || -> Result<i64> { Ok(sqlx::query_scalar("SELECT count(*) FROM reads.parked").fetch_one(&pool).await?) };
    assert!(parked().await? > 0);
    let repaired =
        "UPDATE log.events SET payload = payload->'broken' WHERE stream_id = $1 AND payload->'broken' IS NOT NULL";
    sqlx::query(repaired).bind(shop.item.uuid()).execute(&pool).await?;
    // Every order makes a new row of the stream in some models, and changes the same row in another one.
    eventually("nothing is parked although the stream grows", async || {
        for _ in 0..10 {
            backend.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
        }
        Ok(parked().await? == 0)
    })
    .await?;
    caught_up(&pool).await?;
    stop.cancel();
    following.await?;
    backend.close().await;
    let pool = reopened(&pool).await?;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live);
    check_log_invariants(&pool).await
}
