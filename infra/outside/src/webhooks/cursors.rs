//! The rows of cursors and attempts: who is due, how far it got, and what became of an attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::shared::{TenantId, Timestamp, WebhookSubscriptionId};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};
use uuid::Uuid;

use super::telling::Telling;
use platform::clock::{Timestamptz, now};
use work::later;

/// Attempts of one subscription that are kept for its tenant to see.
pub(super) const ATTEMPTS_KEPT: i64 = 5_000;

/// A cursor that this process works on.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) subscription: WebhookSubscriptionId,
    pub(super) replay: bool,
    pub(super) tenant: TenantId,
    pub(super) lane: i16,
    pub(super) position: i64,
    pub(super) upto: Option<i64>,
    /// How often the next event was tried in vain.
    pub(super) attempts: i32,
    /// Whether the last attempt took long, whatever came of it.
    pub(super) slow: bool,
    turn: i64,
}

/// Where a cursor stands after a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stand {
    pub(super) position: i64,
    pub(super) attempts: i32,
    /// Nothing where it waits for a person, or for nothing at all.
    pub(super) due_at: Option<Timestamp>,
}

/// One attempt, for the tenant to see.
pub(super) struct Attempt<'a> {
    pub(super) event: &'a Telling,
    pub(super) number: i32,
    pub(super) begun_at: Timestamp,
    pub(super) took: Duration,
    pub(super) status: Option<u16>,
    pub(super) trouble: Option<&'a str>,
}

/// How many cursors may be begun.
pub(super) struct Room {
    pub(super) free: usize,
    pub(super) tenant_places: usize,
    /// Whether those in trouble are begun, or the others.
    pub(super) troubled: bool,
}

/// Every tenant gets its own share of the places. A lane is left alone while policies have not yet seen that its history
/// is another one than before: they take the cursors back to what both have in common (see `policies/positions.rs`).
const BEGIN: &str = "
    WITH ready AS (
        SELECT c.subscription, c.replay, r.lane, c.due_at,
               row_number() OVER (PARTITION BY c.tenant ORDER BY c.due_at) + coalesce(b.taken, 0) AS place
        FROM work.webhook_cursors c JOIN log.routes r ON r.tenant = c.tenant JOIN log.lanes l ON l.lane = r.lane
        JOIN work.epochs k ON k.lane = l.lane AND k.epoch = l.epoch
        LEFT JOIN unnest($4::uuid[], $5::bigint[]) AS b(tenant, taken) ON b.tenant = c.tenant
        WHERE c.due_at <= $1 AND r.lane = ANY($2) AND (c.attempts > 0 OR c.slow) = $3 AND NOT EXISTS (SELECT FROM work.hold)
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

/// Whether cursors are due at all that are well, and such that are in trouble; this costs next to nothing.
pub(super) async fn due(pool: &PgPool) -> Result<[bool; 2], sqlx::Error> {
    let text = "SELECT EXISTS (SELECT FROM work.webhook_cursors WHERE due_at <= $1 AND NOT (attempts > 0 OR slow)),
                       EXISTS (SELECT FROM work.webhook_cursors WHERE due_at <= $1 AND (attempts > 0 OR slow))";
    let (well, troubled) = sqlx::query_as(text).bind(Timestamptz(now())).fetch_one(pool).await?;
    Ok([well, troubled])
}

/// Claims cursors that are due and have something to tell, in these lanes.
pub(super) async fn begin(
    pool: &PgPool,
    lanes: &[i16],
    room: &Room,
    taken: &BTreeMap<TenantId, i64>,
    lease: Duration,
) -> Result<Vec<Cursor>, sqlx::Error> {
    if room.free == 0 || lanes.is_empty() {
        return Ok(vec![]);
    }
    let (tenants, counts): (Vec<Uuid>, Vec<i64>) = taken.iter().map(|(tenant, count)| (tenant.uuid(), *count)).unzip();
    let at = now();
    let mut transaction = pool.begin().await?;
    // Planning for every partition takes longer than looking; the plan does not depend on who is due.
    sqlx::query("SET LOCAL plan_cache_mode = force_generic_plan").execute(&mut *transaction).await?;
    let begun = sqlx::query(BEGIN)
        .bind(Timestamptz(at))
        .bind(lanes)
        .bind(room.troubled)
        .bind(tenants)
        .bind(counts)
        .bind(i64::try_from(room.tenant_places).unwrap_or(i64::MAX))
        .bind(i64::try_from(room.free).unwrap_or(i64::MAX))
        .bind(Timestamptz(later(at, lease)))
        .try_map(|row| cursor(&row))
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(begun)
}

fn cursor(row: &PgRow) -> Result<Cursor, sqlx::Error> {
    Ok(Cursor {
        subscription: WebhookSubscriptionId::new(row.try_get("subscription")?),
        replay: row.try_get("replay")?,
        tenant: TenantId::new(row.try_get("tenant")?),
        lane: row.try_get("lane")?,
        position: row.try_get("position")?,
        upto: row.try_get("upto")?,
        attempts: row.try_get("attempts")?,
        slow: row.try_get("slow")?,
        turn: row.try_get("turn")?,
    })
}

/// The cursor moves only in the turn that was drawn for it; that an attempt was made is true in any case.
const MOVE: &str =
    "UPDATE work.webhook_cursors SET position = $4, attempts = $5, due_at = coalesce($6, 'infinity'), slow = $7
    WHERE subscription = $1 AND replay = $2 AND turn = $3";
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
    /// Whether it failed at last or took long: it must leave room for those who are well.
    pub(super) const fn is_troubled(&self) -> bool {
        self.attempts > 0 || self.slow
    }

    /// Moves without an attempt. Says whether it is still ours.
    pub(super) async fn step(&mut self, pool: &PgPool, stand: Stand) -> Result<bool, sqlx::Error> {
        let moved = self.moving(MOVE, stand).execute(pool).await?;
        (self.position, self.attempts) = (stand.position, stand.attempts);
        Ok(moved.rows_affected() == 1)
    }

    /// Moves and writes down what became of an attempt, together. Says whether it is still ours.
    pub(super) async fn settle(
        &mut self,
        pool: &PgPool,
        stand: Stand,
        made: &Attempt<'_>,
    ) -> Result<bool, sqlx::Error> {
        let text = format!("WITH moved AS ({MOVE} RETURNING 1) {RECORD} SELECT 1 FROM moved");
        let moved = self
            .moving(&text, stand)
            .bind(made.event.id)
            .bind(&made.event.kind)
            .bind(made.event.position)
            .bind(made.number)
            .bind(Timestamptz(made.begun_at))
            .bind(i32::try_from(made.took.as_millis()).unwrap_or(i32::MAX))
            .bind(made.status.and_then(|status| i16::try_from(status).ok()))
            .bind(made.trouble)
            .bind(ATTEMPTS_KEPT)
            .fetch_optional(pool)
            .await?;
        (self.position, self.attempts) = (stand.position, stand.attempts);
        Ok(moved.is_some())
    }

    /// A statement that begins with [`MOVE`].
    fn moving<'q>(&self, text: &'q str, stand: Stand) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(text)
            .bind(self.subscription.uuid())
            .bind(self.replay)
            .bind(self.turn)
            .bind(stand.position)
            .bind(stand.attempts)
            .bind(stand.due_at.map(Timestamptz))
            .bind(self.slow)
    }

    /// Lets somebody else go on at once with what was given up in the middle.
    pub(super) async fn let_go(&self, pool: &PgPool) -> Result<(), sqlx::Error> {
        let text = "UPDATE work.webhook_cursors SET due_at = $4 WHERE subscription = $1 AND replay = $2 AND turn = $3
                      AND isfinite(due_at)";
        let query = sqlx::query(text).bind(self.subscription.uuid()).bind(self.replay).bind(self.turn);
        query.bind(Timestamptz(now())).execute(pool).await.map(|_| ())
    }
}
