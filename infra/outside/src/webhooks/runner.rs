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
    /// out: after a restore, the policies first rewind the cursors (see `restore.rs`). New events and a replay have the
    /// same address: an open circuit breaker of one holds up the other too.
    const READY: &'static str = "
        EXISTS (SELECT FROM log.lanes l JOIN work.epochs k ON k.lane = l.lane AND k.epoch = l.epoch
                WHERE l.lane = r.lane)
        AND (SELECT true FROM work.webhook_cursors c JOIN log.events e
                 ON e.lane = r.lane AND e.tenant = q.tenant AND e.tenant_position > c.position
             WHERE c.queue = q.name LIMIT 1)
        AND NOT EXISTS (SELECT FROM work.queues b
                        WHERE b.tenant = q.tenant AND b.kind = 'webhooks' AND b.closed_until > $2
                          AND b.name IN (split_part(q.name, ':', 1), split_part(q.name, ':', 1) || ':replay'))";

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
        "greatest(q.due_at, q.closed_until)".into()
    }

    async fn run(&self, lease: &Lease) -> Result<RunEnd, sqlx::Error> {
        let Some(mut cursor) = Cursor::read(&self.pool, lease).await? else { return Ok(RunEnd::IDLE) };
        self.run_cursor(&mut cursor).await?;
        Ok(self.end_of(lease, &cursor))
    }
}

impl WebhookRunner {
    /// End of a run: a message that was delivered closes the circuit breaker of the subscription, and a number of failures
    /// opens it until the next attempt.
    fn end_of(&self, lease: &Lease, cursor: &Cursor) -> RunEnd {
        match cursor.attempts {
            failures if failures == lease.failures => RunEnd { worked: true, ..RunEnd::IDLE },
            0 => RunEnd::SUCCESS,
            failures => {
                let end = self.limits.breaker.after_failures(failures);
                let closed_until = end.closed_until.map(|until| cursor.next_at.map_or(until, |at| until.max(at)));
                RunEnd { closed_until, ..end }
            }
        }
    }
}
