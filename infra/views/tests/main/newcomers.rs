//! Read models that are new on a long log: they are built beside the others and join their group when they are there.

use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::{Context, Result, ensure};
use event_log::PgHistory;
use lab::harness::{Backend, Shop, caught_up, database, digests, eventually};
use projections::kernel::{Model, Models};
use projections::ports::{Cause, Checkpoint, Epochs, Fault, History, HistoryScan, RawEvent};
use projections::query::{QueryError, RowQuery};
use replay::rebuild::{Options, rebuild};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use views::store::{PgReader, PgTableBuilder};

use crate::broken_rows::{receive, reopened};

/// More events than those of a short log.
const EVENTS: usize = 10_500;

/// Removes the table of a model and everything known of it, as if the code did not have it yet.
async fn forget(pool: &PgPool, model: &Model) -> Result<()> {
    pool.execute(&*format!("DROP TABLE reads.{} CASCADE", model.table())).await?;
    for table in ["live", "checkpoints", "parked"] {
        let text = format!("DELETE FROM reads.{table} WHERE model = $1");
        sqlx::query(&text).bind(&model.name).execute(pool).await?;
    }
    Ok(())
}

/// A long log with its digests. The read models do not follow it.
async fn long_log(url: &str) -> Result<(Shop, Vec<(String, String, u64)>)> {
    let mut backend = Backend::start(url).await?;
    let shop = backend.shop(10).await?;
    backend.run_read_models();
    for _ in 0..5 {
        receive(&backend, &shop, EVENTS / 5).await?;
    }
    caught_up(&backend.pool).await?;
    let pool = backend.pool.clone();
    backend.close().await;
    Ok((shop, digests(&reopened(&pool).await?).await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_model_on_a_long_log_is_built_beside_the_others_and_delays_none() -> Result<()> {
    let url = database().await;
    let (shop, before) = long_log(&url).await?;
    let models = Models::all();
    let model = models.get("StockMovement").context("a read model")?;
    let mut backend = Backend::start(&url).await?;
    let pool = backend.pool.clone();
    forget(&pool, model).await?;
    // As if the build took long: it does not begin while this session has the lock.
    let mut lock = PgConnection::connect(&url).await?;
    let take = "SELECT pg_advisory_lock(hashtextextended('rebuild StockMovement', 0))";
    lock.execute(take).await?;
    backend.run_read_models();
    receive(&backend, &shop, 1).await?;
    let others = "SELECT count(*) FROM reads.checkpoints c
                  JOIN LATERAL (SELECT coalesce(max(e.position), 0) AS position FROM log.events e
                                WHERE e.lane = c.lane) head ON head.position <> c.position";
    eventually("all other models are at the end of the log", async || {
        Ok(sqlx::query_scalar::<_, i64>(others).fetch_one(&pool).await? == 0)
    })
    .await?;
    let page = async || PgReader::new(pool.clone()).page(model, &RowQuery::all(shop.tenant, 1)).await;
    ensure!(matches!(page().await, Err(QueryError::Building { model }) if model == "StockMovement"));

    lock.close().await?;
    caught_up(&pool).await?;
    ensure!(page().await?.rows.len() == 1, "the model can be queried");
    // It follows with its group.
    receive(&backend, &shop, 1).await?;
    caught_up(&pool).await?;
    backend.close().await;
    let rows = |digests: &[(String, String, u64)]| {
        digests.iter().find(|(name, ..)| *name == model.name).map(|(.., rows)| *rows)
    };
    let after = digests(&reopened(&pool).await?).await?;
    assert_eq!(rows(&after), rows(&before).map(|rows| rows + 2));
    Ok(())
}

/// History of which only some scans succeed.
struct Interrupted {
    history: PgHistory,
    scans: AtomicI64,
}

impl History for Interrupted {
    async fn events(&self, lane: i16, after: i64, most: usize) -> Result<Vec<RawEvent>, Fault> {
        self.history.events(lane, after, most).await
    }

    async fn heads(&self) -> Result<Vec<Checkpoint>, Fault> {
        self.history.heads().await
    }

    async fn epochs(&self, lane: i16) -> Result<Epochs, Fault> {
        self.history.epochs(lane).await
    }
}

impl HistoryScan for Interrupted {
    async fn scan(&self, lane: i16, range: (i64, i64), streams: &[&str]) -> Result<Vec<RawEvent>, Fault> {
        match self.scans.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(Fault::new(Cause::Unavailable, "the process is stopped")),
            _ => self.history.scan(lane, range, streams).await,
        }
    }

    async fn count(&self, lane: i16, range: (i64, i64)) -> Result<i64, Fault> {
        self.history.count(lane, range).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_build_of_all_models_is_resumed() -> Result<()> {
    let url = database().await;
    let (_, before) = long_log(&url).await?;
    let pool = platform::database::connect(&url).await?;
    let (models, tables) = (Models::all(), PgTableBuilder::new(pool.clone()));
    let models: Vec<&Model> = models.iter().collect();
    let options = Options { rows_most: 1_000, page: 1_000, resume: true };
    let history = Interrupted { history: PgHistory::new(pool.clone()), scans: AtomicI64::new(8) };
    ensure!(rebuild(&models, &history, &tables, options).await.is_err(), "the build was not interrupted");
    assert_eq!(digests(&pool).await?, before, "an interrupted build changes no live table");

    let built = rebuild(&models, &history, &tables, options).await?;
    let movements = built.iter().find(|built| built.model == "StockMovement").context("a summary")?;
    ensure!((1..8_000).contains(&movements.events), "{} events were read again", movements.events);
    assert_eq!(digests(&pool).await?, before);
    Ok(())
}
