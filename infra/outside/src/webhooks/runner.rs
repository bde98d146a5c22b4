//! Webhook runner: claims due cursors and runs them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use domain::shared::TenantId;
use scribe::forwarding::Dispatch;
use sqlx::PgPool;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use vault::Vault;
use work::Lanes;

use super::cursors::{ClaimQuota, Cursor, claim_due, has_due};
use super::http_client::HttpClient;
use super::limits::WebhookLimits;
use super::signature::SigningKeys;

/// Interval at which due cursors are claimed if this process writes no events.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Minimum pause between two claims, because each claim probes the log for every due cursor.
const BATCH_DELAY: Duration = Duration::from_millis(100);

/// Runner of webhooks, with its dependencies.
#[derive(Clone)]
pub struct WebhookRunner {
    pub pool: PgPool,
    /// Takes the command that pauses a subscription after its last attempt.
    pub dispatch: Dispatch,
    pub lanes: Lanes,
    pub vault: Arc<Vault>,
    pub keys: Arc<SigningKeys>,
    pub client: Arc<HttpClient>,
    pub limits: WebhookLimits,
}

/// Cursor runs in progress, each in a task.
#[derive(Default)]
struct ActiveRuns {
    tasks: JoinSet<()>,
    cursors: HashMap<Id, Cursor>,
}

impl WebhookRunner {
    /// Runs until `stop`. Cursor runs in progress are then aborted; the process that claims their cursors next sends
    /// the event of an unfinished attempt again.
    pub async fn run(self, stop: CancellationToken) {
        let mut written = self.dispatch.written();
        let mut active = ActiveRuns::default();
        while !stop.is_cancelled() {
            if let Err(error) = self.start_due(&mut active).await {
                tracing::warn!(%error, "webhook cursors cannot be claimed now; trying again");
            }
            tokio::time::sleep(BATCH_DELAY).await;
            tokio::select! {
                () = stop.cancelled() => break,
                ended = active.next_ended(), if !active.tasks.is_empty() => active.remove(ended),
                _ = written.changed() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            while let Some(ended) = active.tasks.try_join_next_with_id() {
                active.remove(ended.map_or_else(|failed| failed.id(), |(id, ())| id));
            }
        }
        self.abort(active).await;
    }

    /// Aborts the runs and releases their cursors. A run that has ended by itself has released its cursor.
    async fn abort(&self, mut active: ActiveRuns) {
        active.tasks.abort_all();
        while let Some(ended) = active.tasks.join_next_with_id().await {
            if let Ok((id, ())) = ended {
                active.remove(id);
            }
        }
        for cursor in active.cursors.values() {
            if let Err(error) = cursor.release(&self.pool).await {
                tracing::debug!(%error, "a webhook cursor cannot be released; it is due again when its lease expires");
            }
        }
    }

    /// Claims due cursors and starts their runs: healthy ones first, then degraded ones within the remaining quota.
    async fn start_due(&self, active: &mut ActiveRuns) -> Result<(), sqlx::Error> {
        let lanes: Vec<i16> = self.lanes.current().iter().map(|lane| lane.0).collect();
        let [healthy, degraded] = has_due(&self.pool).await?;
        for degraded in [(healthy, false), (degraded, true)].into_iter().filter_map(|(due, kind)| due.then_some(kind)) {
            let free = self.limits.runs_most.saturating_sub(active.cursors.len());
            let kind_free = match degraded {
                true => self.limits.degraded_runs_most.saturating_sub(active.degraded()),
                false => free,
            };
            let per_tenant = self.limits.tenant_runs_most;
            let quota = ClaimQuota { total: free.min(kind_free), per_tenant, degraded };
            for cursor in claim_due(&self.pool, &lanes, &quota, &active.by_tenant(), self.limits.lease()).await? {
                let (runner, claimed) = (self.clone(), cursor.clone());
                let task = active.tasks.spawn(async move {
                    if let Err(error) = runner.run_cursor(claimed).await {
                        // The cursor is due again when its lease has expired.
                        tracing::warn!(%error, "a webhook delivery cannot continue now; trying again");
                    }
                });
                active.cursors.insert(task.id(), cursor);
            }
        }
        Ok(())
    }
}

impl ActiveRuns {
    async fn next_ended(&mut self) -> Id {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(failed)) => failed.id(),
            None => std::future::pending().await,
        }
    }

    fn remove(&mut self, ended: Id) {
        self.cursors.remove(&ended);
    }

    fn degraded(&self) -> usize {
        self.cursors.values().filter(|cursor| cursor.is_degraded()).count()
    }

    fn by_tenant(&self) -> BTreeMap<TenantId, i64> {
        let mut counts = BTreeMap::new();
        for cursor in self.cursors.values() {
            *counts.entry(cursor.tenant).or_default() += 1;
        }
        counts
    }
}
