//! Sessions that hold locks or old transactions are named.

use std::time::Duration;

use anyhow::Result;
use lab::harness::{database, eventually};
use platform::health::Health;
use platform::session_watch::{obstructing_sessions, watch};
use sqlx::{Connection, Executor, PgConnection};
use tokio_util::sync::CancellationToken;

const NEVER: Duration = Duration::from_secs(1_000_000);

async fn pid(connection: &mut PgConnection) -> Result<i32> {
    Ok(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_that_locks_the_checkpoints_is_named_on_reason_while_another_one_waits() -> Result<()> {
    let url = database().await;
    let mut blocker = PgConnection::connect(&format!("{url}&application_name=forgotten")).await?;
    let pid = pid(&mut blocker).await?;
    blocker.execute("BEGIN; LOCK TABLE reads.checkpoints").await?;
    let mut waiting = PgConnection::connect(&url).await?;
    let waits =
        tokio::spawn(async move { waiting.execute("SELECT count(*) FROM reads.checkpoints").await.map(|_| ()) });
    let mut witness = PgConnection::connect(&url).await?;
    eventually("the blocking session is found", async || {
        let sessions = obstructing_sessions(&mut witness, Duration::from_millis(50), NEVER).await?;
        Ok(sessions.iter().map(|session| (session.pid, session.waiting)).collect::<Vec<_>>() == [(pid, 1)])
    })
    .await?;
    let (health, stop) = (Health::default(), CancellationToken::new());
    let watching = tokio::spawn(watch(url.clone(), health.clone(), stop.clone()));
    let named = format!("pid {pid}, user ");
    eventually("the session is named", async || {
        let shown = health.degradations();
        Ok(shown
            .iter()
            .any(|line| line.contains(&named) && line.contains("application `forgotten`, idle in transaction")))
    })
    .await?;
    blocker.execute("ROLLBACK").await?;
    waits.await??;
    eventually("the session is no longer named", async || Ok(health.degradations().is_empty())).await?;
    stop.cancel();
    Ok(watching.await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_transaction_is_found_only_if_it_keeps_rows_from_being_removed() -> Result<()> {
    let url = database().await;
    let mut idle = PgConnection::connect(&url).await?;
    let mut witness = PgConnection::connect(&url).await?;
    // An idle transaction without changes holds nothing back.
    idle.execute("BEGIN; SELECT 1").await?;
    assert_eq!(obstructing_sessions(&mut witness, NEVER, Duration::ZERO).await?, []);
    idle.execute("SELECT pg_current_xact_id()").await?;
    let found = obstructing_sessions(&mut witness, NEVER, Duration::ZERO).await?;
    assert_eq!(found.iter().map(|session| session.pid).collect::<Vec<_>>(), [pid(&mut idle).await?]);
    assert_eq!((found[0].waiting, &*found[0].state), (0, "idle in transaction"));
    assert_eq!(obstructing_sessions(&mut witness, NEVER, NEVER).await?, []);
    idle.execute("ROLLBACK").await?;
    assert_eq!(obstructing_sessions(&mut witness, NEVER, Duration::ZERO).await?, []);
    Ok(())
}
