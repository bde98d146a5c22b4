//! Cursor rows: claims of due cursors, their moves, and the record of attempts.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::shared::{TenantId, Timestamp, WebhookSubscriptionId};
use platform::clock::{Timestamptz, now, time_after};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};
use uuid::Uuid;

use super::message::Message;

/// Number of recorded attempts that are kept per subscription.
const ATTEMPTS_KEPT: i64 = 5_000;

/// A cursor that this process has claimed.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) subscription: WebhookSubscriptionId,
    /// True for the cursor of a replay, which sends a range of events again. The other cursor of a subscription sends
    /// new events.
    pub(super) replay: bool,
    pub(super) tenant: TenantId,
    pub(super) lane: i16,
    /// Tenant position of the last event that was delivered or skipped.
    pub(super) position: i64,
    /// Tenant position at which a replay ends; `None` for the cursor of new events.
    pub(super) replay_end: Option<i64>,
    /// Number of failed attempts to send the next event.
    pub(super) attempts: i32,
    /// True if the last attempt was slow, whether it succeeded or not.
    pub(super) slow: bool,
    /// Fencing token (column `turn`), incremented by every claim and by reconciliations and restores that change the
    /// cursor. Only the holder of the current token can move the cursor.
    fence: i64,
}

/// New state of a cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct CursorUpdate {
    pub(super) position: i64,
    pub(super) attempts: i32,
    /// `None` if only reconciliation can make the cursor due again.
    pub(super) due_at: Option<Timestamp>,
}

/// Record of one attempt, which the tenant can query.
pub(super) struct AttemptRecord<'a> {
    pub(super) message: &'a Message,
    /// Number of the attempt for this event, from 1.
    pub(super) number: i32,
    pub(super) begun_at: Timestamp,
    pub(super) took: Duration,
    pub(super) status: Option<u16>,
    pub(super) error: Option<&'a str>,
}

/// Number and kind of cursors to claim.
pub(super) struct ClaimQuota {
    /// Maximum number of cursors to claim.
    pub(super) total: usize,
    /// Maximum number of claimed cursors of one tenant, including those that are run already.
    pub(super) per_tenant: usize,
    /// True to claim degraded cursors, false to claim healthy ones.
    pub(super) degraded: bool,
}

/// Claims due cursors with new events, up to the quotas. A lane whose epoch is new to the policies is left out: after a
/// restore, the policies first rewind the cursors (see `restore.rs`).
const CLAIM: &str = "
    WITH ready AS (
        SELECT c.subscription, c.replay, r.lane, c.due_at,
               row_number() OVER (PARTITION BY c.tenant ORDER BY c.due_at) + coalesce(b.taken, 0) AS place
        FROM work.webhook_cursors c JOIN log.routes r ON r.tenant = c.tenant JOIN log.lanes l ON l.lane = r.lane
        JOIN work.epochs k ON k.lane = l.lane AND k.epoch = l.epoch
        LEFT JOIN unnest($4::uuid[], $5::bigint[]) AS b(tenant, taken) ON b.tenant = c.tenant
        WHERE c.due_at <= $1 AND r.lane = ANY($2) AND (c.attempts > 0 OR c.slow) = $3
          AND NOT EXISTS (SELECT FROM work.hold)
          AND EXISTS (SELECT FROM log.events e
                      WHERE e.lane = r.lane AND e.tenant = c.tenant AND e.tenant_position > c.position)
    ), chosen AS (
        SELECT c.subscription, c.replay, ready.lane
        FROM ready JOIN work.webhook_cursors c ON c.subscription = ready.subscription AND c.replay = ready.replay
        WHERE ready.place <= $6 AND c.due_at <= $1
        ORDER BY ready.due_at LIMIT $7 FOR UPDATE OF c SKIP LOCKED
    )
    UPDATE work.webhook_cursors c SET turn = c.turn + 1, due_at = $8 FROM chosen
    WHERE c.subscription = chosen.subscription AND c.replay = chosen.replay
    RETURNING c.subscription, c.replay, c.tenant, chosen.lane, c.position, c.upto, c.attempts, c.slow, c.turn";

/// Checks whether any healthy and whether any degraded cursor is due, in this order: two index probes, much cheaper
/// than a claim.
pub(super) async fn has_due(pool: &PgPool) -> Result<[bool; 2], sqlx::Error> {
    let text = "SELECT EXISTS (SELECT FROM work.webhook_cursors WHERE due_at <= $1 AND NOT (attempts > 0 OR slow)),
                       EXISTS (SELECT FROM work.webhook_cursors WHERE due_at <= $1 AND (attempts > 0 OR slow))";
    let (healthy, degraded) = sqlx::query_as(text).bind(Timestamptz(now())).fetch_one(pool).await?;
    Ok([healthy, degraded])
}

/// Claims due cursors with new events in these lanes. `running`: the number of cursors that are run already, by tenant.
pub(super) async fn claim_due(
    pool: &PgPool,
    lanes: &[i16],
    quota: &ClaimQuota,
    running: &BTreeMap<TenantId, i64>,
    lease: Duration,
) -> Result<Vec<Cursor>, sqlx::Error> {
    if quota.total == 0 || lanes.is_empty() {
        return Ok(vec![]);
    }
    let (tenants, counts): (Vec<Uuid>, Vec<i64>) =
        running.iter().map(|(tenant, count)| (tenant.uuid(), *count)).unzip();
    let at = now();
    let mut transaction = pool.begin().await?;
    // Planning for every partition takes longer than execution, and the plan does not depend on the cursors.
    sqlx::query("SET LOCAL plan_cache_mode = force_generic_plan").execute(&mut *transaction).await?;
    let claimed = sqlx::query(CLAIM)
        .bind(Timestamptz(at))
        .bind(lanes)
        .bind(quota.degraded)
        .bind(tenants)
        .bind(counts)
        .bind(i64::try_from(quota.per_tenant).unwrap_or(i64::MAX))
        .bind(i64::try_from(quota.total).unwrap_or(i64::MAX))
        .bind(Timestamptz(time_after(at, lease)))
        .try_map(|row| cursor(&row))
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(claimed)
}

fn cursor(row: &PgRow) -> Result<Cursor, sqlx::Error> {
    Ok(Cursor {
        subscription: WebhookSubscriptionId::new(row.try_get("subscription")?),
        replay: row.try_get("replay")?,
        tenant: TenantId::new(row.try_get("tenant")?),
        lane: row.try_get("lane")?,
        position: row.try_get("position")?,
        replay_end: row.try_get("upto")?,
        attempts: row.try_get("attempts")?,
        slow: row.try_get("slow")?,
        fence: row.try_get("turn")?,
    })
}

/// Moves a cursor if the fencing token is current.
const MOVE: &str =
    "UPDATE work.webhook_cursors SET position = $4, attempts = $5, due_at = coalesce($6, 'infinity'), slow = $7
    WHERE subscription = $1 AND replay = $2 AND turn = $3";
/// Records an attempt, even if this process has lost its claim, and deletes the oldest records.
const RECORD: &str = "
    , counted AS (
        UPDATE work.webhooks SET attempted = attempted + 1 WHERE subscription = $1 RETURNING attempted, tenant
    ), written AS (
        INSERT INTO work.webhook_attempts
            (subscription, number, tenant, event, type, position, replay, attempt, begun_at, took_ms, status, trouble)
        SELECT $1, attempted, tenant, $8, $9, $10, $2, $11, $12, $13, $14, $15 FROM counted
    ), dropped AS (
        DELETE FROM work.webhook_attempts a USING counted
        WHERE a.subscription = $1 AND a.number <= counted.attempted - $16
    )";

impl Cursor {
    /// True if the last attempt failed or was slow.
    pub(super) const fn is_degraded(&self) -> bool {
        self.attempts > 0 || self.slow
    }

    /// Moves the cursor without an attempt. Returns false, and moves nothing, if this process has lost its claim.
    pub(super) async fn move_to(&mut self, pool: &PgPool, update: CursorUpdate) -> Result<bool, sqlx::Error> {
        let moved = self.move_query(MOVE, update).execute(pool).await?;
        (self.position, self.attempts) = (update.position, update.attempts);
        Ok(moved.rows_affected() == 1)
    }

    /// Moves the cursor and records an attempt in one statement. Returns false, and only records the attempt, if this
    /// process has lost its claim.
    pub(super) async fn record(
        &mut self,
        pool: &PgPool,
        update: CursorUpdate,
        attempt: &AttemptRecord<'_>,
    ) -> Result<bool, sqlx::Error> {
        let text = format!("WITH moved AS ({MOVE} RETURNING 1) {RECORD} SELECT 1 FROM moved");
        let moved = self
            .move_query(&text, update)
            .bind(attempt.message.id)
            .bind(&attempt.message.kind)
            .bind(attempt.message.position)
            .bind(attempt.number)
            .bind(Timestamptz(attempt.begun_at))
            .bind(i32::try_from(attempt.took.as_millis()).unwrap_or(i32::MAX))
            .bind(attempt.status.and_then(|status| i16::try_from(status).ok()))
            .bind(attempt.error)
            .bind(ATTEMPTS_KEPT)
            .fetch_optional(pool)
            .await?;
        (self.position, self.attempts) = (update.position, update.attempts);
        Ok(moved.is_some())
    }

    /// A query of a statement that contains [`MOVE`], with the parameters of the move bound.
    fn move_query<'q>(&self, text: &'q str, update: CursorUpdate) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(text)
            .bind(self.subscription.uuid())
            .bind(self.replay)
            .bind(self.fence)
            .bind(update.position)
            .bind(update.attempts)
            .bind(update.due_at.map(Timestamptz))
            .bind(self.slow)
    }

    /// Ends the claim after an aborted run, so that another process can claim the cursor at once.
    pub(super) async fn release(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let text = "UPDATE work.webhook_cursors SET due_at = $4 WHERE subscription = $1 AND replay = $2 AND turn = $3
                      AND isfinite(due_at)";
        let query = sqlx::query(text).bind(self.subscription.uuid()).bind(self.replay).bind(self.fence);
        query.bind(Timestamptz(now())).execute(pool).await.map(|_| ())
    }
}
