//! Read models whose log was restored to an earlier moment: they go back to the common history and equal a rebuild.

use anyhow::Result;
use lab::harness::{
    Backend, caught_up, database, digests, eventually, lane_head, orphaned_checkpoints, place_orders, rebuild_all,
    restore_lane,
};
use lab::log_invariants::check_log_invariants;

/// Length of the lane after new orders, compared with its length before the restore.
#[derive(Clone, Copy, Debug)]
enum NewLength {
    /// Nothing is written after the restore.
    Restored,
    /// Fewer events than were lost.
    Shorter,
    /// As many events as were lost, so that positions alone do not show the difference.
    Equal,
    /// More events than were lost.
    Longer,
}

async fn models_equal_a_rebuild(length: NewLength) -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_read_models();
    let shop = backend.shop(1_000).await?;
    place_orders(&backend, &shop, 10).await?;
    let lane = shop.lane(&backend.pool).await?;
    let kept = lane_head(&backend.pool, lane).await?;
    place_orders(&backend, &shop, 20).await?;
    caught_up(&backend.pool).await?;
    backend.close().await;

    let pool = platform::database::connect(&url).await?;
    let before = lane_head(&pool, lane).await?;
    restore_lane(&pool, lane, kept).await?;
    let mut backend = Backend::start(&url).await?;
    let orders = match length {
        NewLength::Restored => 0,
        NewLength::Shorter => 5,
        NewLength::Equal => 20,
        NewLength::Longer => 40,
    };
    place_orders(&backend, &shop, orders).await?;
    let after = lane_head(&pool, lane).await?;
    assert_eq!(after.cmp(&before), orders.cmp(&20), "{length:?}: {before} and then {after} events");
    assert!(orphaned_checkpoints(&pool).await? > 0, "checkpoints are ahead of the log");
    backend.run_read_models();
    eventually("every model has gone back to the common history", async || Ok(orphaned_checkpoints(&pool).await? == 0))
        .await?;
    caught_up(&pool).await?;
    // The models follow new events.
    place_orders(&backend, &shop, 1).await?;
    caught_up(&pool).await?;
    backend.close().await;
    let live = digests(&pool).await?;
    rebuild_all(&pool, 1_000).await?;
    assert_eq!(digests(&pool).await?, live, "{length:?}");
    check_log_invariants(&pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_go_back_on_a_restored_lane_without_new_events() -> Result<()> {
    models_equal_a_rebuild(NewLength::Restored).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_go_back_on_a_restored_lane_that_is_shorter_than_before() -> Result<()> {
    models_equal_a_rebuild(NewLength::Shorter).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_go_back_on_a_restored_lane_that_is_as_long_as_before() -> Result<()> {
    models_equal_a_rebuild(NewLength::Equal).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_go_back_on_a_restored_lane_that_is_longer_than_before() -> Result<()> {
    models_equal_a_rebuild(NewLength::Longer).await
}
