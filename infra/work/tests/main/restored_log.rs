//! Policies whose log was restored to an earlier moment: they are rewound to the common history and skip no event.

use anyhow::Result;
use domain::inventory::HOLD_TIME;
use lab::harness::{
    Backend, age_by, database, eventually, lane_head, pending_timers, place_orders, restore_lane, wait_for_new_looks,
};
use lab::log_invariants::check_log_invariants;
use sqlx::PgPool;
use work::{current_pause, resume_work};

/// Orders in the log without a timer that expires them.
const WITHOUT_TIMER: &str = "SELECT count(*) FROM log.events e WHERE e.type = 'order.placed' AND NOT EXISTS (
    SELECT FROM work.timers t WHERE t.command = 'ExpireOrder' AND t.body->>'order' = e.stream_id::text)";

async fn count(pool: &PgPool, text: &str) -> Result<i64> {
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

/// Loses four orders in a restore, and places `new` orders before policies run again.
async fn policies_skip_no_event(new: i64) -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    let shop = backend.shop(100).await?;
    place_orders(&backend, &shop, 3).await?;
    let lane = shop.lane(&backend.pool).await?;
    let kept = lane_head(&backend.pool, lane).await?;
    backend.close().await;
    // The lost events were written in an epoch that the restored log does not contain.
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    place_orders(&backend, &shop, 4).await?;
    eventually("all timers are set", async || Ok(pending_timers(&backend.pool).await? == 14)).await?;
    backend.close().await;

    let pool = platform::database::connect(&url).await?;
    let lost = lane_head(&pool, lane).await?;
    restore_lane(&pool, lane, kept).await?;
    let mut backend = Backend::start(&url).await?;
    place_orders(&backend, &shop, new).await?;
    assert_eq!(lane_head(&pool, lane).await?.cmp(&lost), new.cmp(&4));
    backend.run_policies();
    eventually("the policies have gone back to the common history", async || Ok(current_pause(&pool).await?.is_some()))
        .await?;
    place_orders(&backend, &shop, 1).await?;
    eventually("every order has its timer", async || Ok(count(&pool, WITHOUT_TIMER).await? == 0)).await?;
    backend.close().await;

    // Nothing fires before the release. Then all timers fire, and those of lost orders have no effect.
    age_by(&pool, HOLD_TIME.0 + 1).await?;
    let waiting = pending_timers(&pool).await?;
    let mut backend = Backend::start(&url).await?;
    backend.run_policies();
    wait_for_new_looks(&pool, "work.hold", 1).await?;
    assert_eq!(pending_timers(&pool).await?, waiting);
    resume_work(&pool).await?;
    eventually("the timers have fired", async || Ok(pending_timers(&pool).await? == 0)).await?;
    assert_eq!(shop.count(&pool, "order.cancelled").await?, 3 + new + 1);
    assert_eq!(shop.count(&pool, "stock.reservation_expired").await?, 3 + new + 1);
    assert_eq!(count(&pool, "SELECT count(*) FROM work.dead_letters").await?, 0);
    backend.close().await;
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_skip_no_event_of_a_restored_lane_without_new_events() -> Result<()> {
    policies_skip_no_event(0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_skip_no_event_of_a_restored_lane_that_is_shorter_than_before() -> Result<()> {
    policies_skip_no_event(2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_skip_no_event_of_a_restored_lane_that_is_as_long_as_before() -> Result<()> {
    policies_skip_no_event(4).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_skip_no_event_of_a_restored_lane_that_is_longer_than_before() -> Result<()> {
    policies_skip_no_event(8).await
}
