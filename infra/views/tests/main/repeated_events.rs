//! Events that are played twice, as after a restart of Kafka or of a projector, change no row (ES-05).

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use event_log::PgHistory;
use lab::harness::{Backend, caught_up, database, digests, eventually, use_every_model};
use projections::kernel::{Model, Models};
use projections::ports::{History, RawEvent};
use projections::projector::Projector;
use serde_json::Value;
use sqlx::{Executor, PgPool};
use views::store::PgRows;

use crate::broken_rows::{on_hand, receive, reopened};
use crate::rebuild::settled;

type PgProjector = Projector<PgRows, PgHistory>;

/// All events of the log, lane by lane.
async fn all_events(pool: &PgPool) -> Result<Vec<RawEvent>> {
    let (history, mut events) = (PgHistory::new(pool.clone()), Vec::new());
    for head in history.heads().await? {
        events.extend(history.events(head.lane, 0, usize::try_from(head.position)?).await?);
    }
    Ok(events)
}

/// One projector for each group, at the stored checkpoints.
async fn projectors(pool: &PgPool, models: &Models) -> Result<Vec<PgProjector>> {
    let mut projectors = Vec::new();
    for models in models.groups().into_values() {
        let (rows, history) = (PgRows::new(pool.clone()), PgHistory::new(pool.clone()));
        projectors.push(Projector::open(rows, history, models.into_iter().cloned()).await?);
    }
    Ok(projectors)
}

async fn play(projectors: &mut [PgProjector], events: &[RawEvent]) -> Result<()> {
    for projector in projectors {
        for batch in events.chunks(500) {
            let outcome = projector.apply(batch).await?;
            ensure!(outcome.errors.is_empty() && outcome.parked.is_empty(), "{outcome:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_that_is_played_twice_gives_the_same_digests() -> Result<()> {
    let mut backend = Backend::start(&database().await).await?;
    backend.run_read_models();
    backend.run_policies();
    let shop = backend.shop(40).await?;
    let done = async |name: &'static str, body: Value| backend.execute(shop.tenant, name, &body).await.map(|_| ());
    use_every_model(done, &backend.pool, &shop).await?;
    settled(&backend.pool).await?;
    let pool = backend.pool.clone();
    backend.close().await;
    let pool = reopened(&pool).await?;
    let (followed, events) = (digests(&pool).await?, all_events(&pool).await?);
    ensure!(events.len() > 100, "{} events", events.len());
    let is_empty: BTreeMap<_, _> = followed.iter().filter(|(_, _, rows)| *rows == 0).map(|one| (&one.0, 0)).collect();
    ensure!(is_empty.is_empty(), "models without rows: {is_empty:?}");

    // Empty tables at position 0, filled by projectors that then get all events again, as do projectors that start later.
    let models = Models::all();
    for model in models.iter() {
        forget_rows(&pool, model).await?;
    }
    let mut first = projectors(&pool, &models).await?;
    play(&mut first, &events).await?;
    assert_eq!(digests(&pool).await?, followed, "the events played once");
    play(&mut first, &events).await?;
    assert_eq!(digests(&pool).await?, followed, "the events played twice");
    play(&mut projectors(&pool, &models).await?, &events).await?;
    assert_eq!(digests(&pool).await?, followed, "the events played again after a restart");
    proofs::proven("ES-05 a log that is played twice gives the same digests");
    Ok(())
}

/// Fails every commit that moves the checkpoint of stock levels, and counts how often it did so.
const FAIL_COMMITS: &str = "
    CREATE SEQUENCE failed_commits;
    CREATE FUNCTION fail_commit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('failed_commits');
        RAISE EXCEPTION 'the commit failed';
    END $$;
    CREATE CONSTRAINT TRIGGER fail_commit AFTER UPDATE ON reads.checkpoints DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (new.model = 'StockLevel') EXECUTE FUNCTION fail_commit()";

/// Sum of the positions of the stock levels' checkpoints.
async fn position(pool: &PgPool) -> Result<i64> {
    let text = "SELECT sum(position)::bigint FROM reads.checkpoints JOIN reads.live USING (model, shape)
                WHERE model = 'StockLevel'";
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_checkpoint_are_committed_together_or_not_at_all() -> Result<()> {
    let mut backend = Backend::start(&database().await).await?;
    backend.run_read_models();
    let shop = backend.shop(10).await?;
    let pool = backend.pool.clone();
    caught_up(&pool).await?;
    let before = position(&pool).await?;
    pool.execute(FAIL_COMMITS).await?;
    receive(&backend, &shop, 1).await?;
    let failed = "SELECT is_called FROM failed_commits";
    eventually("a commit has failed", async || Ok(sqlx::query_scalar(failed).fetch_one(&pool).await?)).await?;
    assert_eq!((on_hand(&pool, &shop).await?, position(&pool).await?), (10, before));
    pool.execute("DROP TRIGGER fail_commit ON reads.checkpoints").await?;
    caught_up(&pool).await?;
    assert_eq!(on_hand(&pool, &shop).await?, 11);
    ensure!(position(&pool).await? > before, "the checkpoint has moved with the row");
    proofs::proven("ES-05 rows and their checkpoint are committed together or not at all");
    backend.close().await;
    Ok(())
}

/// Empties the table of a model and moves it to the first event.
async fn forget_rows(pool: &PgPool, model: &Model) -> Result<()> {
    sqlx::query(&format!("DELETE FROM reads.{}", model.table())).execute(pool).await?;
    let start = "UPDATE reads.checkpoints SET position = 0, epoch = 0 WHERE model = $1 AND shape = $2";
    sqlx::query(start).bind(&model.name).bind(&model.shape).execute(pool).await?;
    Ok(())
}
