//! Timers that become due while no process runs.

use anyhow::Result;
use domain::inventory::HOLD_TIME;
use lab::harness::{Cluster, Shop, age_by, database, eventually, pending_timers, send_until_decided};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use sqlx::PgPool;

/// Counts the cancelled orders and the expired reservations of a shop.
async fn expired(shop: &Shop, pool: &PgPool) -> Result<(i64, i64)> {
    Ok((shop.count(pool, "order.cancelled").await?, shop.count(pool, "stock.reservation_expired").await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timer_that_was_due_while_no_process_ran_fires_once() -> Result<()> {
    let url = database().await;
    let (cluster, pool) = (Cluster::new(&url).await?, platform::database::connect(&url).await?);
    let engine = cluster.start_ready(&[]).await?;
    let (shop, owner) = cluster.shop(&engine, &pool, 2).await?;
    let (unpaid, paid) = (new_id(), new_id());
    for order in [unpaid, paid] {
        send_until_decided(&[&owner], "PlaceOrder", new_id(), &shop.order(order, new_id())).await?;
    }
    // Each order has a timer of its own and one of its reservation.
    eventually("the timers are set", async || Ok(pending_timers(&pool).await? == 4)).await?;
    send_until_decided(&[&owner], "RecordPayment", new_id(), &shop.payment(paid)).await?;
    eventually("the payment cancels its timers", async || Ok(pending_timers(&pool).await? == 2)).await?;
    engine.kill().await?;

    age_by(&pool, HOLD_TIME.0 + 1).await?;
    assert_eq!((expired(&shop, &pool).await?, pending_timers(&pool).await?), ((0, 0), 2));
    let engine = cluster.start_ready(&[]).await?;
    eventually("the timers have fired", async || Ok(pending_timers(&pool).await? == 0)).await?;
    assert_eq!(expired(&shop, &pool).await?, (1, 1));
    let owner = cluster.owner(&engine, shop.tenant).await?;
    let answer = send_until_decided(&[&owner], "PlaceOrder", new_id(), &shop.order(new_id(), new_id())).await?;
    assert_eq!(answer["outcome"], "accepted", "the unit is on sale again: {answer}");
    proofs::proven("INV-09 a paid reservation never expires, and an unpaid one does so once, also while nothing runs");
    engine.kill().await?;

    // Policies react to every event again, as after a crash before their positions were written: nothing happens twice.
    sqlx::query("UPDATE work.policies SET position = 0").execute(&pool).await?;
    sqlx::query("DELETE FROM work.timers").execute(&pool).await?;
    let engine = cluster.start_ready(&[]).await?;
    let behind = "SELECT count(*) FROM work.policies p WHERE p.position <
                  (SELECT coalesce(max(e.position), 0) FROM log.events e WHERE e.lane = p.lane)";
    eventually("the policies are at the end of the log and only the timers of the new order wait", async || {
        let behind: i64 = sqlx::query_scalar(behind).fetch_one(&pool).await?;
        Ok(behind == 0 && pending_timers(&pool).await? == 2)
    })
    .await?;
    assert_eq!(expired(&shop, &pool).await?, (1, 1));
    assert_eq!(shop.count(&pool, "tenant.opened").await?, 1);
    engine.stop().await?;
    check_log_invariants(&pool).await
}
