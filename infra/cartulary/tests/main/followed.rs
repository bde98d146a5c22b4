//! A log that was restored to an earlier moment: policies go back to what both histories share, and skip nothing.

use std::time::Duration;

use anyhow::Result;
use cartulary::running;
use domain::inventory::HOLD_TIME;
use sqlx::PgPool;
use work::{held_back, release};

use crate::laws::keeps_the_laws;
use crate::restored::{head, restore, sell};
use crate::server::database;
use crate::shop::{House, eventually};
use crate::timers::{timers, turn_back};

/// Orders in the log that nobody will look after when their time has passed.
const FORGOTTEN: &str = "SELECT count(*) FROM log.events e WHERE e.type = 'order.placed' AND NOT EXISTS (
    SELECT FROM work.timers t WHERE t.command = 'ExpireOrder' AND t.body->>'order' = e.stream_id::text)";

async fn count(pool: &PgPool, text: &str) -> Result<i64> {
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

/// Loses four orders in a restore and sells so many new ones before policies run again.
async fn nothing_new_is_skipped(new: i64) -> Result<()> {
    let url = database().await;
    let mut house = House::with_defaults(&url).await?;
    house.react();
    let shop = house.shop(100).await?;
    sell(&house, &shop, 3).await?;
    let lane = shop.lane(&house.pool).await?;
    let kept = head(&house.pool, lane).await?;
    house.close().await;
    // What is lost was written by a process that the restored log does not even know of.
    let mut house = House::with_defaults(&url).await?;
    house.react();
    sell(&house, &shop, 4).await?;
    eventually("all timers are set", async || Ok(timers(&house.pool).await? == 14)).await?;
    house.close().await;

    let pool = running::connect(&url).await?;
    let lost = head(&pool, lane).await?;
    restore(&pool, lane, kept).await?;
    let mut house = House::with_defaults(&url).await?;
    sell(&house, &shop, new).await?;
    assert_eq!(head(&pool, lane).await?.cmp(&lost), new.cmp(&4));
    house.react();
    eventually("the policies have gone back", async || Ok(held_back(&pool).await?.is_some())).await?;
    sell(&house, &shop, 1).await?;
    eventually("every order is looked after", async || Ok(count(&pool, FORGOTTEN).await? == 0)).await?;
    house.close().await;

    // Nothing fires before somebody says so; then everything does, and what was lost harms nobody.
    turn_back(&pool, HOLD_TIME.0 + 1).await?;
    let waiting = timers(&pool).await?;
    let mut house = House::with_defaults(&url).await?;
    house.react();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(timers(&pool).await?, waiting);
    release(&pool).await?;
    eventually("the timers have gone off", async || Ok(timers(&pool).await? == 0)).await?;
    assert_eq!(shop.count(&pool, "order.cancelled").await?, 3 + new + 1);
    assert_eq!(shop.count(&pool, "stock.reservation_expired").await?, 3 + new + 1);
    assert_eq!(count(&pool, "SELECT count(*) FROM work.failures").await?, 0);
    house.close().await;
    keeps_the_laws(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_skip_nothing_of_a_restored_lane_that_nobody_wrote_to() -> Result<()> {
    nothing_new_is_skipped(0).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_skip_nothing_of_a_restored_lane_that_is_still_shorter_than_it_was() -> Result<()> {
    nothing_new_is_skipped(2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_skip_nothing_of_a_restored_lane_that_is_exactly_as_long_as_it_was() -> Result<()> {
    nothing_new_is_skipped(4).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_skip_nothing_of_a_restored_lane_that_has_grown_beyond_what_was_lost() -> Result<()> {
    nothing_new_is_skipped(8).await
}
