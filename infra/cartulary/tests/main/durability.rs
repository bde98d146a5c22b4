//! Durability settings of the database: while commits could be lost, no command is acknowledged.

use anyhow::{Context, Result, ensure};
use lab::demo::client::Client;
use lab::fleet::EngineProcess;
use lab::harness::{Cluster, Shop, database, end_sessions, eventually, send_once};
use lab::log_invariants::check_log_invariants;
use platform::clock::new_id;
use sqlx::PgPool;

/// Changes a setting of the database.
async fn set(pool: &PgPool, change: &str) -> Result<()> {
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(pool).await?;
    sqlx::query(&format!("ALTER DATABASE {name} {change}")).execute(pool).await?;
    Ok(())
}

/// Sends a command: true if it is refused because the database is unsafe, and the process reports the setting.
async fn refuses(engine: &EngineProcess, owner: &Client, shop: &Shop) -> Result<bool> {
    let (status, answer) =
        send_once(owner, "ReserveStock", new_id(), &shop.reservation(new_id())).await.context("an answer")?;
    if status != 503 || answer["code"] != "STORE_UNSAFE" {
        return Ok(false);
    }
    ensure!(answer["retry"] == "SAME_ID", "{answer}");
    // Callers get the code alone; the setting is named where operators look.
    let (ready, _) = engine.get("/ready").await?;
    let (_, reason) = engine.get("/reason").await?;
    Ok(ready == 503 && reason.contains("synchronous_commit is off"))
}

/// Sends a command: true if it is accepted and the process is ready.
async fn accepts(engine: &EngineProcess, owner: &Client, shop: &Shop) -> Result<bool> {
    let answer = send_once(owner, "ReserveStock", new_id(), &shop.reservation(new_id())).await;
    Ok(answer.is_some_and(|(status, _)| status == 200) && engine.get("/ready").await?.0 == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_refused_while_synchronous_commit_is_off_and_the_setting_is_reported() -> Result<()> {
    let url = database().await;
    let pool = platform::database::connect(&format!("{url}&application_name=witness")).await?;
    let cluster = Cluster::new(&url).await?;
    let engine = cluster.start_ready(&[]).await?;
    let (shop, owner) = cluster.shop(&engine, &pool, 1_000).await?;
    assert!(accepts(&engine, &owner, &shop).await?);

    // First in the sessions that are open, then in new ones that begin with the weak setting.
    for cut in [false, true] {
        set(&pool, "SET synchronous_commit = off").await?;
        if cut {
            end_sessions(&pool).await?;
        }
        eventually("commands are refused", async || refuses(&engine, &owner, &shop).await).await?;
        let before = shop.count(&pool, "stock.reserved").await?;
        for _ in 0..20 {
            assert!(refuses(&engine, &owner, &shop).await?);
        }
        assert_eq!(shop.count(&pool, "stock.reserved").await?, before);

        set(&pool, "RESET synchronous_commit").await?;
        eventually("commands are accepted again", async || accepts(&engine, &owner, &shop).await).await?;
    }
    engine.stop().await?;
    check_log_invariants(&pool).await
}
