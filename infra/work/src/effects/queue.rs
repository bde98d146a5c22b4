//! Rows of effects: claims within a leased queue, and outcomes.

use std::time::Duration;

use commands::kernel::Outcome;
use domain::shared::{TenantId, Timestamp};
use platform::clock::{Timestamptz, now, time_after, time_before};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::worker::{EFFECTS, EffectQueues};
use crate::queue::{Lease, QueueKey};

/// Maximum number of effects of one partner in progress.
const PARTNER_BATCH: i64 = 4;
/// Delay before a follow-up command that was not decided is sent again.
const FOLLOW_UP_DELAY: Duration = Duration::from_millis(500);

/// An effect that this process has claimed.
pub(super) struct ClaimedEffect {
    pub(super) id: Uuid,
    pub(super) policy: String,
    pub(super) causation: Uuid,
    /// Id shared by everything that followed from one request; `None` in rows of earlier versions.
    pub(super) correlation: Option<Uuid>,
    pub(super) name: String,
    pub(super) request: String,
    pub(super) asked_at: Timestamp,
    /// Number of attempts, including the present one.
    pub(super) attempts: i32,
    /// Error of the previous attempt.
    pub(super) last_error: Option<String>,
    /// Outcome stored by an earlier attempt; only the follow-up command is still to be sent then.
    pub(super) outcome: Option<Outcome>,
}

/// The queue of the effects of a tenant on a target.
pub(crate) fn queue_of(tenant: TenantId, target: &str) -> QueueKey {
    QueueKey { kind: EFFECTS, tenant, name: target.to_owned() }
}

/// Claims due effects of a partner. While its circuit breaker is open, only effects are claimed that need no call;
/// afterwards one effect tests the partner.
const CLAIM: &str = "
    WITH due AS (
        SELECT e.id FROM work.effects e JOIN work.queues q
          ON q.kind = 'effects' AND q.tenant = e.tenant AND q.name = e.target
        WHERE e.tenant = $1 AND e.target = $2 AND e.due_at <= $3 AND e.name = ANY($5)
          AND (q.closed_until <= $3 OR e.outcome IS NOT NULL OR e.asked_at <= $4)
        ORDER BY e.due_at LIMIT $6 FOR UPDATE OF e SKIP LOCKED
    )
    UPDATE work.effects e SET attempts = e.attempts + 1, due_at = $7 FROM due WHERE e.id = due.id
    RETURNING e.id, e.policy, e.causation, e.correlation, e.name, e.request::text AS request, e.asked_at, e.attempts,
              e.trouble, e.outcome";

impl EffectQueues {
    /// Claims due effects of these types in a leased queue.
    pub(super) async fn claim_due(&self, lease: &Lease, names: &[&str]) -> Result<Vec<ClaimedEffect>, sqlx::Error> {
        let (limits, at) = (self.targets.limits(), now());
        let most = if lease.failures < limits.failures_most { PARTNER_BATCH } else { 1 };
        sqlx::query(CLAIM)
            .bind(lease.key.tenant.uuid())
            .bind(&lease.key.name)
            .bind(Timestamptz(at))
            .bind(Timestamptz(time_before(at, limits.age_most)))
            .bind(names)
            .bind(most)
            .bind(Timestamptz(time_after(at, limits.lease())))
            .try_map(|row| claimed_effect(&row))
            .fetch_all(&self.pool)
            .await
    }

    /// Schedules another attempt after a delay. Only the latest attempt may set the schedule, not an earlier one whose lease
    /// has expired.
    pub(super) async fn schedule_retry(
        &self,
        effect: &ClaimedEffect,
        delay: Duration,
        error: &str,
    ) -> Result<(), sqlx::Error> {
        let text = "UPDATE work.effects SET due_at = $3, trouble = $4
                    WHERE id = $1 AND attempts = $2 AND outcome IS NULL";
        let query = sqlx::query(text).bind(effect.id).bind(effect.attempts);
        query.bind(Timestamptz(time_after(now(), delay))).bind(error).execute(&self.pool).await.map(|_| ())
    }

    /// Stores the outcome, before its follow-up command is sent. Returns the stored outcome, which may be that of an
    /// earlier attempt; `None` if another attempt has completed the effect in between.
    pub(super) async fn store_outcome(
        &self,
        effect: &ClaimedEffect,
        outcome: &Outcome,
    ) -> Result<Option<Outcome>, sqlx::Error> {
        let json = serde_json::to_string(outcome).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let text = "UPDATE work.effects SET outcome = coalesce(outcome, $2::json), due_at = $3 WHERE id = $1
                    RETURNING outcome";
        let query = sqlx::query_scalar(text).bind(effect.id).bind(json).bind(Timestamptz(now()));
        let stored: Option<Json<Outcome>> = query.fetch_optional(&self.pool).await?;
        Ok(stored.map(|Json(outcome)| outcome))
    }

    /// Makes an effect with an outcome due again after [`FOLLOW_UP_DELAY`], for its follow-up command.
    pub(super) async fn postpone(&self, effect: &ClaimedEffect) -> Result<(), sqlx::Error> {
        let at = time_after(now(), FOLLOW_UP_DELAY);
        let postponed = sqlx::query("UPDATE work.effects SET due_at = $2 WHERE id = $1 AND outcome IS NOT NULL");
        postponed.bind(effect.id).bind(Timestamptz(at)).execute(&self.pool).await.map(|_| ())
    }

    pub(super) async fn delete(&self, effect: &ClaimedEffect) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM work.effects WHERE id = $1").bind(effect.id).execute(&self.pool).await.map(|_| ())
    }
}

fn claimed_effect(row: &PgRow) -> Result<ClaimedEffect, sqlx::Error> {
    Ok(ClaimedEffect {
        id: row.try_get("id")?,
        policy: row.try_get("policy")?,
        causation: row.try_get("causation")?,
        correlation: row.try_get("correlation")?,
        name: row.try_get("name")?,
        request: row.try_get("request")?,
        asked_at: row.try_get::<Timestamptz, _>("asked_at")?.0,
        attempts: row.try_get("attempts")?,
        last_error: row.try_get("trouble")?,
        outcome: row.try_get::<Option<Json<Outcome>>, _>("outcome")?.map(|Json(outcome)| outcome),
    })
}
