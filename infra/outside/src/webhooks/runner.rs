//! Webhook runner: the queues of cursors, one per subscription and one per replay.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use scribe::forwarding::Dispatch;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use vault::Vault;
use work::Lanes;
use work::queue::{Lease, QueueLimits, QueueWork, QueueWorker, RunEnd};

use super::cursors::{Cursor, WEBHOOKS};
use super::http_client::HttpClient;
use super::limits::WebhookLimits;
use super::signature::SigningKeys;

/// Minimum pause between two claims, because each claim probes the log for every due cursor.
const CLAIM_PAUSE: Duration = Duration::from_millis(100);

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

impl WebhookRunner {
    /// Runs until `stop`. Cursor runs in progress are then dropped; the process that claims their cursors next sends the
    /// event of an unfinished attempt again.
    pub async fn run(self, stop: CancellationToken) {
        let (pool, lanes, written) = (self.pool.clone(), self.lanes.clone(), Some(self.dispatch.written()));
        QueueWorker { pool, lanes, written, work: self }.run(stop).await;
    }
}

#[async_trait]
impl QueueWork for WebhookRunner {
    const KIND: &'static str = WEBHOOKS;
    const CLAIM_PAUSE: Duration = CLAIM_PAUSE;
    /// A cursor has work if its tenant has events after its position. A lane whose epoch is new to the policies is left
    /// out: after a restore, the policies first rewind the cursors (see `restore.rs`).
    const READY: &'static str = "
        EXISTS (SELECT FROM log.lanes l JOIN work.epochs k ON k.lane = l.lane AND k.epoch = l.epoch
                WHERE l.lane = r.lane)
        AND (SELECT true FROM work.webhook_cursors c JOIN log.events e
                 ON e.lane = r.lane AND e.tenant = q.tenant AND e.tenant_position > c.position
             WHERE c.queue = q.name LIMIT 1)";

    fn limits(&self) -> QueueLimits {
        QueueLimits {
            lease: self.limits.lease(),
            runs_most: self.limits.runs_most,
            lane_runs_most: self.limits.runs_most,
            tenant_runs_most: self.limits.tenant_runs_most,
            degraded_runs_most: self.limits.degraded_runs_most,
            stop_grace: Duration::ZERO,
        }
    }

    /// A run stores the time of the next one in the row itself.
    fn next_due(&self) -> Cow<'static, str> {
        "q.due_at".into()
    }

    async fn run(&self, lease: &Lease) -> Result<RunEnd, sqlx::Error> {
        let Some(cursor) = Cursor::read(&self.pool, lease).await? else { return Ok(RunEnd::IDLE) };
        self.run_cursor(cursor).await?;
        Ok(RunEnd { worked: true, ..RunEnd::IDLE })
    }
}
