//! Readiness by lag.

use anyhow::{Result, ensure};
use lab::harness::{Cluster, database, eventually};
use platform::database::connect;
use serde_json::Value;
use sqlx::Executor;

/// More events than a ready process may have before it.
const EVENTS: &str = "
    UPDATE log.lanes SET epoch = 7 WHERE lane = 3;
    INSERT INTO log.epochs (lane, epoch, first_position, since) VALUES (3, 7, 1, now());
    INSERT INTO log.routes SELECT '01900000-0000-7000-8000-000000000001', 3;
    INSERT INTO log.events
    SELECT 3, n, 7, '01900000-0000-7000-8000-000000000001', n, 'Nothing', gen_random_uuid(), 1, gen_random_uuid(),
           gen_random_uuid(), 0, 'nothing.happened', 1, '{}', '{\"actor\":{\"engine\":\"test\"},\"command\":\"Test\"}', now(), now()
    FROM generate_series(1, 100001) n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_is_not_ready_until_its_read_models_are_near_the_end_of_the_log() -> Result<()> {
    let url = database().await;
    let (cluster, owner) = (Cluster::new(&url).await?, connect(&url).await?);
    owner.execute(EVENTS).await?;
    // While the lock is held, no checkpoint moves.
    let mut lock = owner.begin().await?;
    lock.execute("LOCK TABLE reads.checkpoints IN EXCLUSIVE MODE").await?;
    let process = cluster.start_unready("project", "project-1", &[]).await?;
    eventually("the lag is reported", async || {
        Ok(process.get("/reason").await?.1.contains("100001 events behind the end of the log"))
    })
    .await?;
    ensure!(process.get("/ready").await?.0 == 503, "it is ready");
    lock.rollback().await?;
    // A model whose write timed out catches up outside of its group, and is named as a degradation until it advances.
    eventually("it is ready, and every read model advances", async || {
        let is_ready = process.get("/ready").await?.0 == 200;
        let reason: Value = serde_json::from_str(&process.get("/reason").await?.1)?;
        Ok(is_ready && reason["degraded"].as_array().is_some_and(Vec::is_empty))
    })
    .await?;
    let behind: Option<String> =
        sqlx::query_scalar("SELECT string_agg(model, ' ') FROM reads.checkpoints WHERE lane = 3 AND position < 1")
            .fetch_one(&owner)
            .await?;
    ensure!(behind.is_none(), "ready without {behind:?}");
    proofs::proven("OPS-04 a process is not ready until its read models are near the end of the log");
    process.stop().await
}
