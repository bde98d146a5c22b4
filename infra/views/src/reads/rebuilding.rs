//! Builds read models anew beside the ones that are served, one after the other, while the rest goes on.

use projections::kernel::Model;
use replay::rebuild::{Budget, RebuildSummary, rebuild};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use crate::live::Changes;
use crate::store::PgBuilds;
use event_log::PgHistory;
use platform::health::Health;

/// What is said to be away.
const PART: &str = "a rebuild";

/// The models that have to be built anew.
pub(super) struct Rebuilding {
    pool: PgPool,
    changes: Changes,
    health: Health,
    wanted: Vec<Model>,
    under_way: Option<(Model, JoinHandle<anyhow::Result<Option<RebuildSummary>>>)>,
}

impl Rebuilding {
    pub(super) fn new(pool: PgPool, changes: Changes, health: Health) -> Self {
        Self { pool, changes, health, wanted: Vec::new(), under_way: None }
    }

    /// Each of these is built, once. One that fails, or that another process builds, has to be wanted again.
    pub(super) fn want(&mut self, models: impl IntoIterator<Item = Model>) {
        for model in models {
            let known = self.under_way.iter().map(|(model, _)| model).chain(&self.wanted);
            if known.into_iter().all(|known| known.name != model.name) {
                self.wanted.push(model);
            }
        }
    }

    /// Begins the next one where none is under way. Says whether one was finished, so that readers have to look at its
    /// new table.
    pub(super) async fn go_on(&mut self) -> bool {
        let mut switched = false;
        if let Some((model, task)) = self.under_way.take_if(|(_, task)| task.is_finished()) {
            match task.await.map_err(anyhow::Error::from).and_then(|built| built) {
                Ok(Some(_)) => {
                    self.changes.tell_rebuilt(&model.name);
                    self.health.back(PART);
                    switched = true;
                }
                Ok(None) => tracing::debug!(model = model.name, "another process is rebuilding it"),
                Err(error) => self.health.away(PART, format!("{}: {error:#}", model.name)),
            }
        }
        if self.under_way.is_none() && !self.wanted.is_empty() {
            let (pool, model) = (self.pool.clone(), self.wanted.remove(0));
            let built = model.clone();
            self.under_way = Some((model, tokio::spawn(async move { try_build_anew(&pool, &built).await })));
        }
        switched
    }
}

impl Drop for Rebuilding {
    /// What was built so far is dropped by whoever builds next.
    fn drop(&mut self) {
        if let Some((_, task)) = &self.under_way {
            task.abort();
        }
    }
}

/// Rebuilds a read model beside the one that is served, and switches.
pub async fn build_anew(pool: &PgPool, model: &Model) -> anyhow::Result<RebuildSummary> {
    let built = try_build_anew(pool, model).await?;
    built.ok_or_else(|| anyhow::anyhow!("another process is rebuilding {}", model.name))
}

/// Two builds of one table would spoil each other: whoever comes second gets nothing.
async fn try_build_anew(pool: &PgPool, model: &Model) -> anyhow::Result<Option<RebuildSummary>> {
    let mut turn = pool.begin().await?;
    let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended('rebuild ' || $1, 0))")
        .bind(&model.name)
        .fetch_one(&mut *turn)
        .await?;
    if !ours {
        return Ok(None);
    }
    tracing::info!(model = model.name, "rebuilding a read model");
    let (history, builds) = (PgHistory::new(pool.clone()), PgBuilds::new(pool.clone()));
    let built = rebuild(model, &history, &builds, Budget::default()).await?;
    turn.commit().await?;
    Ok(Some(built))
}
