//! Rebuilds of read models from the log equal the live ones byte by byte, in steps of any size.

use anyhow::Result;
use lab::harness::{Backend, caught_up, database, digests, eventually, rebuild_all, use_every_model};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use sqlx::PgPool;

/// Waits until policies and read models are at the end of the log.
pub(crate) async fn settled(pool: &PgPool) -> Result<()> {
    let behind = "SELECT count(*) FROM work.policies p WHERE p.position < (
                      SELECT coalesce(max(e.position), 0) FROM log.events e WHERE e.lane = p.lane)";
    eventually("every policy is at the end of the log", async || {
        Ok(sqlx::query_scalar::<_, i64>(behind).fetch_one(pool).await? == 0)
    })
    .await?;
    caught_up(pool).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebuild_equals_the_live_read_model_in_steps_of_one_and_of_a_thousand() -> Result<()> {
    let url = database().await;
    let mut backend = Backend::start(&url).await?;
    backend.run_read_models();
    backend.run_policies();
    for _ in 0..2 {
        let shop = backend.shop(60).await?;
        let done = async |name, body| backend.execute(shop.tenant, name, &body).await.map(drop);
        use_every_model(done, &backend.pool, &shop).await?;
    }
    settled(&backend.pool).await?;
    let parked = "SELECT count(*) FROM reads.parked";
    assert_eq!(sqlx::query_scalar::<_, i64>(parked).fetch_one(&backend.pool).await?, 0);
    let failures = "SELECT count(*) FROM work.dead_letters";
    assert_eq!(sqlx::query_scalar::<_, i64>(failures).fetch_one(&backend.pool).await?, 0);
    let live = digests(&backend.pool).await?;
    let empty: Vec<_> = live.iter().filter(|(_, _, rows)| *rows == 0).map(|(model, ..)| model).collect();
    assert!(empty.is_empty(), "models without rows: {empty:?}; `use_every_model` should make some");
    // The follower runs during the rebuilds.
    for at_a_time in [1, 1_000] {
        rebuild_all(&backend.pool, at_a_time).await?;
        assert_eq!(digests(&backend.pool).await?, live, "{at_a_time} at a time");
    }
    let days = "SELECT count(DISTINCT payload->>'ordered_on') FROM log.events WHERE type = 'order.imported'";
    assert_eq!(sqlx::query_scalar::<_, i64>(days).fetch_one(&backend.pool).await?, 3);
    proofs::proven("ANA-11 computing the sales of several days again changes nothing");
    check_log_invariants(&backend.pool).await?;

    // Events after a rebuild reach the new tables.
    let shop = backend.shop(10).await?;
    backend.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    settled(&backend.pool).await?;
    let pool = backend.pool.clone();
    let later = digests(&pool).await?;
    assert_ne!(later, live);
    rebuild_all(&pool, 7).await?;
    assert_eq!(digests(&pool).await?, later);
    backend.close().await;
    Ok(())
}
