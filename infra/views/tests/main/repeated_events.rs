//! Events that are played twice, as after a restart of Kafka or of a projector, change no row (ES-05).

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use event_log::PgHistory;
use lab::harness::{Backend, database, digests};
use projections::kernel::{Model, Models};
use projections::ports::{History, RawEvent};
use projections::projector::Projector;
use serde_json::Value;
use sqlx::PgPool;
use views::store::PgRows;

use crate::broken_rows::reopened;
use crate::rebuild::{settled, use_every_model};

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

/// Empties the table of a model and moves it to the first event.
async fn forget_rows(pool: &PgPool, model: &Model) -> Result<()> {
    sqlx::query(&format!("DELETE FROM reads.{}", model.table())).execute(pool).await?;
    let start = "UPDATE reads.checkpoints SET position = 0, epoch = 0 WHERE model = $1 AND shape = $2";
    sqlx::query(start).bind(&model.name).bind(&model.shape).execute(pool).await?;
    Ok(())
}
