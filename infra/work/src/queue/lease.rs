//! Rows of queues: claims, leases and due times.

use std::collections::BTreeMap;
use std::time::Duration;

use commands::scribe::LaneId;
use domain::shared::{TenantId, Timestamp};
use platform::clock::{Timestamptz, now, time_after};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

/// Due time of a queue that was claimed although nothing was due, such as after its timer was cancelled.
const IDLE_DELAY: Duration = Duration::from_millis(250);

/// Limits of the queues of one kind in one process.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Time after which another process may claim the queue, unless its run has ended.
    pub lease: Duration,
    /// Maximum number of runs at a time.
    pub runs_most: usize,
    /// Maximum number of these in one lane.
    pub lane_runs_most: usize,
    /// Maximum number of these that belong to one tenant.
    pub tenant_runs_most: usize,
    /// Maximum number of these that are degraded: their last run failed or was slow. The others are left to healthy ones.
    pub degraded_runs_most: usize,
    /// Time in which runs may end after the process was asked to stop. They are then dropped.
    pub stop_grace: Duration,
}

/// Identity of a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueKey {
    pub kind: &'static str,
    pub tenant: TenantId,
    /// Name of the partner; empty if it is the engine itself.
    pub name: String,
}

/// A queue that this process has claimed.
#[derive(Clone, Debug)]
pub struct Lease {
    pub key: QueueKey,
    pub lane: LaneId,
    /// Number of consecutive failures before this run.
    pub failures: i32,
    /// True if the last run was slow.
    pub slow: bool,
    /// Incremented by every claim, so that a holder whose lease has expired changes nothing.
    fence: i64,
}

/// State of a queue after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// True if an item was due.
    pub worked: bool,
    /// Number of consecutive failures of the partner; `None` if it was not called. 0 closes its circuit breaker.
    pub failures: Option<i32>,
    /// Time until which the partner is not called from now on; `None` if that does not change.
    pub closed_until: Option<Timestamp>,
    /// True if no process decides commands of the lane now, so that its other queues would fail too.
    pub is_lane_away: bool,
}

impl RunEnd {
    /// End of a run that found nothing due.
    pub const IDLE: Self = Self { worked: false, failures: None, closed_until: None, is_lane_away: false };
    /// End of a run in which nothing failed.
    pub const SUCCESS: Self = Self { worked: true, failures: Some(0), closed_until: None, is_lane_away: false };
}

/// Claims due queues of one kind: in these lanes, with one of these names if any are given, for which the condition `READY`
/// holds; healthy ones first, within the limits. Those with a run in this process are left out.
const CLAIM: &str = "
    WITH ready AS (
        SELECT q.tenant, q.name, r.lane, q.due_at, d.is_degraded,
               row_number() OVER (PARTITION BY d.is_degraded ORDER BY q.due_at) AS place,
               row_number() OVER (PARTITION BY q.tenant ORDER BY d.is_degraded, q.due_at) + coalesce(t.taken, 0)
                   AS tenant_place,
               row_number() OVER (PARTITION BY r.lane ORDER BY d.is_degraded, q.due_at) + coalesce(l.taken, 0)
                   AS lane_place
        FROM work.queues q JOIN log.routes r ON r.tenant = q.tenant
        CROSS JOIN LATERAL (SELECT q.failures > 0 OR q.slow AS is_degraded) d
        LEFT JOIN (SELECT tenant, count(*) AS taken FROM unnest($5::uuid[]) AS tenant GROUP BY tenant) t
               ON t.tenant = q.tenant
        LEFT JOIN (SELECT lane, count(*) AS taken FROM unnest($7::smallint[]) AS lane GROUP BY lane) l
               ON l.lane = r.lane
        WHERE q.kind = $1 AND q.due_at <= $2 AND q.leased_until <= $2 AND r.lane = ANY($3)
          AND ($4::text[] IS NULL OR q.name = ANY($4)) AND NOT EXISTS (SELECT FROM work.hold)
          AND NOT EXISTS (SELECT FROM unnest($5::uuid[], $6::text[]) AS busy(tenant, name)
                          WHERE busy.tenant = q.tenant AND busy.name = q.name)
          AND (READY)
    ), chosen AS (
        SELECT q.tenant, q.name, ready.lane
        FROM ready JOIN work.queues q ON q.kind = $1 AND q.tenant = ready.tenant AND q.name = ready.name
        WHERE ready.tenant_place <= $8 AND ready.lane_place <= $9 AND q.due_at <= $2 AND q.leased_until <= $2
          AND (NOT ready.is_degraded OR ready.place <= $12)
        ORDER BY ready.is_degraded, ready.due_at LIMIT $10 FOR UPDATE OF q SKIP LOCKED
    )
    UPDATE work.queues q SET leased_until = $11, fence = q.fence + 1 FROM chosen
    WHERE q.kind = $1 AND q.tenant = chosen.tenant AND q.name = chosen.name
    RETURNING q.tenant, q.name, chosen.lane, q.failures, q.slow, q.fence";

/// Claims due queues of one kind.
pub(super) async fn claim_due(
    pool: &PgPool,
    (kind, ready, names): (&'static str, &str, Option<&[String]>),
    lanes: &[i16],
    running: &[&Lease],
    limits: &QueueLimits,
) -> Result<Vec<Lease>, sqlx::Error> {
    let free = limits.runs_most.saturating_sub(running.len());
    if free == 0 {
        return Ok(vec![]);
    }
    let (at, number) = (now(), |most: usize| i64::try_from(most).unwrap_or(i64::MAX));
    let degraded = running.iter().filter(|lease| lease.is_degraded()).count();
    let text = CLAIM.replace("READY", ready);
    let mut transaction = pool.begin().await?;
    // Planning for every partition of the log takes longer than execution, and the plan does not depend on the queues.
    sqlx::query("SET LOCAL plan_cache_mode = force_generic_plan").execute(&mut *transaction).await?;
    let claimed = sqlx::query(&text)
        .bind(kind)
        .bind(Timestamptz(at))
        .bind(lanes)
        .bind(names)
        .bind(running.iter().map(|lease| lease.key.tenant.uuid()).collect::<Vec<Uuid>>())
        .bind(running.iter().map(|lease| lease.key.name.as_str()).collect::<Vec<_>>())
        .bind(running.iter().map(|lease| lease.lane.0).collect::<Vec<_>>())
        .bind(number(limits.tenant_runs_most))
        .bind(number(limits.lane_runs_most))
        .bind(number(free))
        .bind(Timestamptz(time_after(at, limits.lease)))
        .bind(number(limits.degraded_runs_most.saturating_sub(degraded)))
        .try_map(|row: PgRow| {
            let (tenant, name) = (TenantId::new(row.try_get("tenant")?), row.try_get("name")?);
            Ok(Lease {
                key: QueueKey { kind, tenant, name },
                lane: LaneId(row.try_get("lane")?),
                failures: row.try_get("failures")?,
                slow: row.try_get("slow")?,
                fence: row.try_get("fence")?,
            })
        })
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(claimed)
}

impl Lease {
    /// True if the last run failed or was slow.
    const fn is_degraded(&self) -> bool {
        self.failures > 0 || self.slow
    }

    /// Fencing token: a statement of the holder checks that the row still has it.
    pub const fn fence(&self) -> i64 {
        self.fence
    }

    /// Extends the lease of a run that goes on. Returns false if another process has claimed the queue.
    pub(crate) async fn extend(&self, pool: &PgPool, duration: Duration) -> Result<bool, sqlx::Error> {
        let text = "UPDATE work.queues SET leased_until = $5
                    WHERE tenant = $1 AND kind = $2 AND name = $3 AND fence = $4";
        let query = sqlx::query(text).bind(self.key.tenant.uuid()).bind(self.key.kind).bind(&self.key.name);
        let extended = query.bind(self.fence).bind(Timestamptz(time_after(now(), duration))).execute(pool).await?;
        Ok(extended.rows_affected() == 1)
    }

    /// Ends the lease after a run: stores the state of the queue and its next due time, which the SQL expression
    /// `next_due` computes from the row `q`; null if the queue has no item.
    pub(super) async fn end(&self, pool: &PgPool, next_due: &str, end: &RunEnd) -> Result<(), sqlx::Error> {
        let mut transaction = pool.begin().await?;
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *transaction).await?;
        // Items are added under a lock of this row. The next statement therefore sees them, or they lower the due time
        // that it stores.
        let lock = "SELECT 1 FROM work.queues WHERE tenant = $1 AND kind = $2 AND name = $3 AND fence = $4 FOR UPDATE";
        let lock = sqlx::query(lock).bind(self.key.tenant.uuid()).bind(self.key.kind).bind(&self.key.name);
        if lock.bind(self.fence).fetch_optional(&mut *transaction).await?.is_none() {
            return Ok(());
        }
        let state = "UPDATE work.queues SET failures = coalesce($4, failures),
                         closed_until = CASE WHEN $4 = 0 THEN '-infinity' ELSE coalesce($5, closed_until) END
                     WHERE tenant = $1 AND kind = $2 AND name = $3 AND ($4 IS NOT NULL OR $5 IS NOT NULL)";
        let state = sqlx::query(state).bind(self.key.tenant.uuid()).bind(self.key.kind).bind(&self.key.name);
        let state = state.bind(end.failures).bind(end.closed_until.map(Timestamptz));
        state.execute(&mut *transaction).await?;
        let text = format!(
            "UPDATE work.queues q SET leased_until = '-infinity', due_at = greatest(coalesce({next_due}, 'infinity'), $4)
             WHERE q.tenant = $1 AND q.kind = $2 AND q.name = $3"
        );
        let earliest = (!end.worked).then(|| Timestamptz(time_after(now(), IDLE_DELAY)));
        let release = sqlx::query(&text).bind(self.key.tenant.uuid()).bind(self.key.kind).bind(&self.key.name);
        release.bind(earliest).execute(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Ends the lease after a run that was dropped: the queue is due as before.
    pub(super) async fn abandon(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let text = "UPDATE work.queues SET leased_until = '-infinity'
                    WHERE tenant = $1 AND kind = $2 AND name = $3 AND fence = $4";
        let query = sqlx::query(text).bind(self.key.tenant.uuid()).bind(self.key.kind).bind(&self.key.name);
        query.bind(self.fence).execute(pool).await.map(|_| ())
    }
}

/// Makes queues due at the times of items that were added in the same transaction, but not before their breakers close.
pub(crate) async fn wake(
    connection: &mut PgConnection,
    queues: &BTreeMap<QueueKey, Timestamp>,
) -> Result<(), sqlx::Error> {
    if queues.is_empty() {
        return Ok(());
    }
    let text = "
        INSERT INTO work.queues (kind, tenant, name, due_at)
        SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[]) AS new(kind, tenant, name, due_at)
        ON CONFLICT (tenant, kind, name) DO UPDATE
            SET due_at = greatest(excluded.due_at, work.queues.closed_until)
            WHERE work.queues.due_at > greatest(excluded.due_at, work.queues.closed_until)";
    sqlx::query(text)
        .bind(queues.keys().map(|queue| queue.kind).collect::<Vec<_>>())
        .bind(queues.keys().map(|queue| queue.tenant.uuid()).collect::<Vec<_>>())
        .bind(queues.keys().map(|queue| queue.name.as_str()).collect::<Vec<_>>())
        .bind(queues.values().map(|due| Timestamptz(*due)).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(|_| ())
}
