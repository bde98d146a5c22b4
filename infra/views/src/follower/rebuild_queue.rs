//! Rebuild queue: builds tables of read models in the background, each beside the served one, in scans of the log that any
//! number of models share.

use std::collections::VecDeque;

use event_log::PgHistory;
use platform::health::Health;
use projections::kernel::Model;
use replay::rebuild::{Options, RebuildSummary, rebuild};
use sqlx::{PgPool, PgTransaction};
use tokio_util::task::AbortOnDropHandle;

use crate::live::RowNotices;
use crate::store::PgTableBuilder;

/// Name of this component in the health report.
const COMPONENT: &str = "rebuild";
/// Name of the models that are being built in the health report.
const BUILDING: &str = "read models being built";

/// Read models that must be built, and the running scan. A scan that is interrupted is resumed by the next one.
pub(super) struct RebuildQueue {
    pool: PgPool,
    notices: RowNotices,
    health: Health,
    /// Models of the next scans.
    pending: VecDeque<Vec<Model>>,
    running: Option<(Vec<Model>, Scan)>,
}

/// A scan that builds models; dropping it aborts it.
type Scan = AbortOnDropHandle<anyhow::Result<Vec<RebuildSummary>>>;

impl RebuildQueue {
    pub(super) fn new(pool: PgPool, notices: RowNotices, health: Health) -> Self {
        Self { pool, notices, health, pending: VecDeque::new(), running: None }
    }

    /// Enqueues those of the models that are neither pending nor running, for one scan. A model whose build fails, or
    /// that another process is building, leaves the queue and must be enqueued again.
    pub(super) fn enqueue(&mut self, models: impl IntoIterator<Item = Model>) {
        let is_new = |model: &Model| {
            let running = self.running.iter().map(|(models, _)| models);
            running.chain(&self.pending).flatten().all(|known| known.name != model.name)
        };
        let models: Vec<_> = models.into_iter().filter(is_new).collect();
        if !models.is_empty() {
            self.pending.push_back(models);
        }
    }

    /// Starts the next scan if none is running.
    pub(super) async fn advance(&mut self) {
        if let Some((models, task)) = self.running.take_if(|(_, task)| task.is_finished()) {
            match task.await.map_err(anyhow::Error::from).and_then(|built| built) {
                Ok(built) => {
                    built.iter().for_each(|built| self.notices.publish_rebuilt(&built.model));
                    self.health.report_recovery(COMPONENT);
                }
                Err(error) => {
                    let names = names(&models);
                    self.health.report_outage(COMPONENT, format!("{names}: {error:#}"));
                    // A model that cannot be built holds up no other one.
                    if models.len() > 1 {
                        self.pending.extend(models.into_iter().map(|model| vec![model]));
                    }
                }
            }
        }
        if self.running.is_none()
            && let Some(models) = self.pending.pop_front()
        {
            let (pool, built) = (self.pool.clone(), models.clone());
            let options = Options { resume: true, ..Options::default() };
            let task =
                tokio::spawn(async move { try_rebuild(&pool, &built.iter().collect::<Vec<_>>(), options).await });
            self.running = Some((models, AbortOnDropHandle::new(task)));
        }
        self.health.set_degradation(BUILDING, self.running.as_ref().map(|(models, _)| names(models)));
    }
}

fn names(models: &[Model]) -> String {
    models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Rebuilds read models in new tables beside the served ones, in one scan, and switches to these. Fails if another process
/// is rebuilding one of them.
pub async fn rebuild_models(pool: &PgPool, models: &[&Model]) -> anyhow::Result<Vec<RebuildSummary>> {
    let built = try_rebuild(pool, models, Options::default()).await?;
    let is_missing = |model: &&&Model| built.iter().all(|built| built.model != model.name);
    match models.iter().find(is_missing) {
        Some(model) => anyhow::bail!("another process is rebuilding {}", model.name),
        None => Ok(built),
    }
}

/// Rebuilds those of the models that no other process is rebuilding. Each is locked, because two rebuilds would write to
/// the same table.
async fn try_rebuild(pool: &PgPool, models: &[&Model], options: Options) -> anyhow::Result<Vec<RebuildSummary>> {
    let mut locks = pool.begin().await?;
    let mut locked = Vec::new();
    for model in models {
        if lock(&mut locks, model).await? {
            locked.push(*model);
        } else {
            tracing::debug!(model = model.name, "another process is rebuilding this read model");
        }
    }
    if locked.is_empty() {
        return Ok(vec![]);
    }
    tracing::info!(models = locked.len(), "rebuilding read models");
    let (history, tables) = (PgHistory::new(pool.clone()), PgTableBuilder::new(pool.clone()));
    let built = rebuild(&locked, &history, &tables, options).await?;
    locks.commit().await?;
    Ok(built)
}

/// Takes the lock of a model for the transaction; false if another process has it.
async fn lock(transaction: &mut PgTransaction<'_>, model: &Model) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended('rebuild ' || $1, 0))")
        .bind(&model.name)
        .fetch_one(&mut **transaction)
        .await
}
