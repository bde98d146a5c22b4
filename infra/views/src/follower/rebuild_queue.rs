//! Rebuild queue: rebuilds read models in the background, one at a time, each in a new table beside the live one.

use event_log::PgHistory;
use platform::health::Health;
use projections::kernel::Model;
use replay::rebuild::{Budget, RebuildSummary, rebuild};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::live::RowNotices;
use crate::store::PgTableBuilder;

/// Name of this component in the health report.
const COMPONENT: &str = "rebuild";

/// Read models that must be rebuilt, and the running rebuild.
pub(super) struct RebuildQueue {
    pool: PgPool,
    notices: RowNotices,
    health: Health,
    pending: Vec<Model>,
    running: Option<(Model, JoinHandle<anyhow::Result<Option<RebuildSummary>>>)>,
}

impl RebuildQueue {
    pub(super) fn new(pool: PgPool, notices: RowNotices, health: Health) -> Self {
        Self { pool, notices, health, pending: Vec::new(), running: None }
    }

    /// Enqueues those of the models that are neither pending nor running. A model whose rebuild fails, or that another
    /// process is rebuilding, leaves the queue and must be enqueued again.
    pub(super) fn enqueue(&mut self, models: impl IntoIterator<Item = Model>) {
        for model in models {
            let known = self.running.iter().map(|(model, _)| model).chain(&self.pending);
            if known.into_iter().all(|known| known.name != model.name) {
                self.pending.push(model);
            }
        }
    }

    /// Starts the next rebuild if none is running. Returns true if a rebuild has succeeded since the last call: its
    /// model is then served from the new table.
    pub(super) async fn advance(&mut self) -> bool {
        let mut switched = false;
        if let Some((model, task)) = self.running.take_if(|(_, task)| task.is_finished()) {
            match task.await.map_err(anyhow::Error::from).and_then(|built| built) {
                Ok(Some(_)) => {
                    self.notices.publish_rebuilt(&model.name);
                    self.health.report_recovery(COMPONENT);
                    switched = true;
                }
                Ok(None) => tracing::debug!(model = model.name, "another process is rebuilding this read model"),
                Err(error) => self.health.report_outage(COMPONENT, format!("{}: {error:#}", model.name)),
            }
        }
        if self.running.is_none() && !self.pending.is_empty() {
            let (pool, model) = (self.pool.clone(), self.pending.remove(0));
            let built = model.clone();
            self.running = Some((model, tokio::spawn(async move { try_rebuild_model(&pool, &built).await })));
        }
        switched
    }
}

impl Drop for RebuildQueue {
    /// Aborts the running rebuild. The next rebuild of that model drops the unfinished table.
    fn drop(&mut self) {
        if let Some((_, task)) = &self.running {
            task.abort();
        }
    }
}

/// Rebuilds a read model in a new table beside the live one and switches to it. Fails if another process is rebuilding
/// it.
pub async fn rebuild_model(pool: &PgPool, model: &Model) -> anyhow::Result<RebuildSummary> {
    let built = try_rebuild_model(pool, model).await?;
    built.ok_or_else(|| anyhow::anyhow!("another process is rebuilding {}", model.name))
}

/// Rebuilds a read model under an advisory lock, because two rebuilds would write to the same table. `None` if another
/// process holds the lock.
async fn try_rebuild_model(pool: &PgPool, model: &Model) -> anyhow::Result<Option<RebuildSummary>> {
    let mut lock = pool.begin().await?;
    let acquired: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended('rebuild ' || $1, 0))")
        .bind(&model.name)
        .fetch_one(&mut *lock)
        .await?;
    if !acquired {
        return Ok(None);
    }
    tracing::info!(model = model.name, "rebuilding a read model");
    let (history, builds) = (PgHistory::new(pool.clone()), PgTableBuilder::new(pool.clone()));
    let built = rebuild(model, &history, &builds, Budget::default()).await?;
    lock.commit().await?;
    Ok(Some(built))
}
