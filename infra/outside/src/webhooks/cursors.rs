//! Cursor rows: their moves, and the record of attempts. A cursor is the only item of its queue (`work::queue`), whose row
//! holds the lease, the due time and the failures in a row.

use std::time::Duration;

use domain::shared::{TenantId, Timestamp, WebhookSubscriptionId};
use platform::clock::{Timestamptz, now, time_after};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgPool, Postgres, Row};
use work::queue::Lease;

use super::message::Message;

/// Kind of the queues of webhooks.
pub(super) const WEBHOOKS: &str = "webhooks";
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
    /// Time of the next run, once it is known and unless only reconciliation makes the cursor due again.
    pub(super) next_at: Option<Timestamp>,
    /// The claim. Reconciliations and restores that change the cursor end it, and only its holder can move the cursor.
    lease: Lease,
}

/// New state of a cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct CursorUpdate {
    pub(super) position: i64,
    pub(super) attempts: i32,
    pub(super) next: Next,
}

/// Time of the next run of a cursor.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// This run goes on, and its lease is extended by this duration.
    GoesOn(Duration),
    At(Timestamp),
    /// Only reconciliation can make the cursor due again.
    Never,
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

/// Moves a cursor if its queue is still leased to this process.
const MOVE: &str = "
    held AS (
        UPDATE work.queues SET failures = $6, slow = $7, due_at = coalesce($8, 'infinity'),
               leased_until = coalesce($9, leased_until)
        WHERE tenant = $3 AND kind = 'webhooks' AND name = $4 AND fence = $5 RETURNING 1
    ), moved AS (
        UPDATE work.webhook_cursors SET position = $10 FROM held WHERE subscription = $1 AND replay = $2 RETURNING 1
    )";
/// Records an attempt, even if this process has lost its claim, and deletes the oldest records.
const RECORD: &str = "
    , counted AS (
        UPDATE work.webhooks SET attempted = attempted + 1 WHERE subscription = $1 RETURNING attempted, tenant
    ), written AS (
        INSERT INTO work.webhook_attempts
            (subscription, number, tenant, event, type, position, replay, attempt, begun_at, took_ms, status, trouble)
        SELECT $1, attempted, tenant, $11, $12, $13, $2, $14, $15, $16, $17, $18 FROM counted
    ), dropped AS (
        DELETE FROM work.webhook_attempts a USING counted
        WHERE a.subscription = $1 AND a.number <= counted.attempted - $19
    )";

impl Cursor {
    /// The cursor of a leased queue; `None` if it was deleted.
    pub(super) async fn read(pool: &PgPool, lease: &Lease) -> Result<Option<Self>, sqlx::Error> {
        let text = "SELECT subscription, replay, position, upto FROM work.webhook_cursors WHERE queue = $1";
        let Some(row) = sqlx::query(text).bind(&lease.key.name).fetch_optional(pool).await? else { return Ok(None) };
        Ok(Some(Self {
            subscription: WebhookSubscriptionId::new(row.try_get("subscription")?),
            replay: row.try_get("replay")?,
            tenant: lease.key.tenant,
            lane: lease.lane.0,
            position: row.try_get("position")?,
            replay_end: row.try_get("upto")?,
            attempts: lease.failures,
            slow: lease.slow,
            next_at: None,
            lease: lease.clone(),
        }))
    }

    /// Moves the cursor without an attempt. Returns false, and moves nothing, if this process has lost its claim.
    pub(super) async fn move_to(&mut self, pool: &PgPool, update: CursorUpdate) -> Result<bool, sqlx::Error> {
        let text = format!("WITH {MOVE} SELECT 1 FROM moved");
        let moved = self.move_query(&text, update).fetch_optional(pool).await?;
        self.follow(update);
        Ok(moved.is_some())
    }

    /// Moves the cursor and records an attempt in one statement. Returns false, and only records the attempt, if this
    /// process has lost its claim.
    pub(super) async fn record(
        &mut self,
        pool: &PgPool,
        update: CursorUpdate,
        attempt: &AttemptRecord<'_>,
    ) -> Result<bool, sqlx::Error> {
        let text = format!("WITH {MOVE} {RECORD} SELECT 1 FROM moved");
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
        self.follow(update);
        Ok(moved.is_some())
    }

    fn follow(&mut self, update: CursorUpdate) {
        (self.position, self.attempts) = (update.position, update.attempts);
        self.next_at = match update.next {
            Next::At(at) => Some(at),
            Next::GoesOn(_) | Next::Never => None,
        };
    }

    /// A query of a statement that contains [`MOVE`], with the parameters of the move bound.
    fn move_query<'q>(&'q self, text: &'q str, update: CursorUpdate) -> Query<'q, Postgres, PgArguments> {
        let (due_at, leased_until) = match update.next {
            Next::GoesOn(lease) => (Some(now()), Some(time_after(now(), lease))),
            Next::At(due_at) => (Some(due_at), None),
            Next::Never => (None, None),
        };
        sqlx::query(text)
            .bind(self.subscription.uuid())
            .bind(self.replay)
            .bind(self.tenant.uuid())
            .bind(&self.lease.key.name)
            .bind(self.lease.fence())
            .bind(update.attempts)
            .bind(self.slow)
            .bind(due_at.map(Timestamptz))
            .bind(leased_until.map(Timestamptz))
            .bind(update.position)
    }
}
