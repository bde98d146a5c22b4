//! Presence of the processes of a role.

use anyhow::Result;
use lab::harness::{database, eventually};
use platform::clock_monitor::ClockMonitor;
use platform::health::Health;
use scribe::presence::{Presence, members};
use sqlx::Executor;
use tokio_util::sync::CancellationToken;

/// Records each DELETE statement on presences, even one that deletes no row.
const NOTE_DELETES: &str = "
    CREATE TABLE deletes (at timestamptz DEFAULT now());
    CREATE FUNCTION note_delete() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN INSERT INTO public.deletes DEFAULT VALUES; RETURN NULL; END';
    CREATE TRIGGER note AFTER DELETE ON work.presences FOR EACH STATEMENT EXECUTE FUNCTION note_delete();";

#[tokio::test]
async fn leaving_process_does_not_remove_its_successor_of_the_same_name() -> Result<()> {
    let pool = platform::database::connect(&database().await).await?;
    pool.execute(NOTE_DELETES).await?;
    let join = async |stop: &CancellationToken| {
        // The next heartbeat is ten minutes away.
        let (name, lease_ms) = ("same".to_owned(), 4 * 600_000);
        let (health, clock) = (Health::default(), ClockMonitor::default());
        let presence = Presence { pool: pool.clone(), role: "project", name, lease_ms, health, clock };
        presence.join(stop.clone()).await
    };
    let leave = [CancellationToken::new(), CancellationToken::new()];
    for stop in &leave {
        join(stop).await?;
    }
    leave[0].cancel();
    // Its statement deletes no row; the recorded statement shows that it has run.
    eventually("the first one has left", async || {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT FROM deletes)").fetch_one(&pool).await?)
    })
    .await?;
    assert_eq!(members(&pool, "project").await?, ["same"]);
    leave[1].cancel();
    eventually("it has left", async || Ok(members(&pool, "project").await?.is_empty())).await
}
