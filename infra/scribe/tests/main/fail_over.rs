//! Fail-over to a database server that lacks the last commits.

use anyhow::Result;
use lab::harness::{
    Backend, caught_up, database, digests, end_sessions, eventually, lane_head, orphaned_checkpoints, place_orders,
    rebuild_all, restore_lane_on,
};
use lab::log_invariants::check_log_invariants;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scribe_forgets_its_state_when_another_database_server_takes_over() -> Result<()> {
    let url = database().await;
    let witness = platform::database::connect(&format!("{url}&application_name=witness")).await?;
    let mut backend = Backend::start(&url).await?;
    backend.run_read_models();
    let shop = backend.shop(1_000).await?;
    place_orders(&backend, &shop, 10).await?;
    let lane = shop.lane(&witness).await?;
    let kept = lane_head(&witness, lane).await?;
    place_orders(&backend, &shop, 20).await?;
    caught_up(&witness).await?;

    // A lagging standby takes over: every session ends, and the server of the next sessions lacks the last commits.
    let mut fail_over = witness.begin().await?;
    sqlx::query("SELECT FROM log.lanes FOR UPDATE").execute(&mut *fail_over).await?;
    restore_lane_on(&mut fail_over, lane, kept).await?;
    end_sessions(&mut *fail_over).await?;
    let lease = "SELECT lease::text FROM log.lanes WHERE lane = $1";
    let before: String = sqlx::query_scalar(lease).bind(lane).fetch_one(&mut *fail_over).await?;
    fail_over.commit().await?;
    // No command is in flight whose failure could show the loss: the scribe has to detect it by itself.
    eventually("the scribe has taken the lane again", async || {
        Ok(sqlx::query_scalar::<_, String>(lease).bind(lane).fetch_one(&witness).await? != before)
    })
    .await?;
    eventually("the lane is written again", async || Ok(place_orders(&backend, &shop, 1).await.is_ok())).await?;
    place_orders(&backend, &shop, 4).await?;
    let dense = "SELECT count(*) = max(position) FROM log.events WHERE lane = $1";
    assert!(sqlx::query_scalar::<_, bool>(dense).bind(lane).fetch_one(&witness).await?, "positions without gaps");
    eventually("every model has gone back to the common history", async || {
        Ok(orphaned_checkpoints(&witness).await? == 0)
    })
    .await?;
    caught_up(&witness).await?;
    backend.close().await;
    let live = digests(&witness).await?;
    rebuild_all(&witness, 1_000).await?;
    assert_eq!(digests(&witness).await?, live);
    check_log_invariants(&witness).await
}
