//! Effect queue: rows of effects and partners, their claims and outcomes.

use std::collections::BTreeMap;
use std::time::Duration;

use commands::kernel::Outcome;
use domain::shared::{TenantId, Timestamp};
use platform::clock::{Timestamptz, now, time_after, time_before};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::worker::EffectWorker;

/// Maximum number of effects of one partner in progress.
const PARTNER_BATCH: i64 = 4;
/// Maximum number of effects claimed at a time.
const BATCH: i64 = 256;
/// Delay before a follow-up command that was not decided is sent again.
const FOLLOW_UP_DELAY: Duration = Duration::from_millis(500);

/// Partner, identified by its target and the tenant. Circuit breakers and batches are kept per partner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partner {
    pub(super) tenant: TenantId,
    pub(super) target: String,
}

/// Claimed effects of one partner.
pub(super) struct PartnerBatch {
    pub(super) partner: Partner,
    pub(super) effects: Vec<ClaimedEffect>,
}

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

/// Claims due effects, a bounded number per partner, so that many effects of one do not delay another. While the
/// circuit breaker of a partner is open, only effects are claimed that need no call; afterwards one effect tests the
/// partner.
const CLAIM: &str = "
    WITH due AS (
        SELECT e.id FROM work.partners p JOIN log.routes r ON r.tenant = p.tenant
        CROSS JOIN LATERAL (
            SELECT id FROM work.effects
            WHERE tenant = p.tenant AND target = p.target AND due_at <= $1 AND name = ANY($4)
              AND (p.closed_till <= $1 OR outcome IS NOT NULL OR asked_at <= $2)
            ORDER BY due_at LIMIT CASE WHEN p.failures < $7 THEN $8 ELSE 1 END FOR UPDATE SKIP LOCKED) AS e
        WHERE r.lane = ANY($3) AND NOT EXISTS (SELECT FROM work.hold)
          AND NOT EXISTS (SELECT FROM unnest($5::uuid[], $6::text[]) AS busy(tenant, target)
                          WHERE busy.tenant = p.tenant AND busy.target = p.target)
        LIMIT $9
    )
    UPDATE work.effects e SET attempts = e.attempts + 1, due_at = $10 FROM due WHERE e.id = due.id
    RETURNING e.tenant, e.target, e.id, e.policy, e.causation, e.correlation, e.name, e.request::text AS request,
              e.asked_at, e.attempts, e.trouble, e.outcome";

/// Schedules the next attempt and counts the failure of the partner. Only the latest attempt may set the schedule, not
/// an earlier one whose lease has expired.
const RETRY: &str = "
    WITH partner AS (
        UPDATE work.partners SET failures = failures + 1,
               closed_till = CASE WHEN failures + 1 < $6 THEN closed_till ELSE $7 END
        WHERE tenant = $4 AND target = $5
    )
    UPDATE work.effects SET due_at = $3, trouble = $8 WHERE id = $1 AND attempts = $2 AND outcome IS NULL";

/// Stores the outcome, unless one is stored already. Any answer of the partner, even a refusal, closes its circuit
/// breaker.
const STORE_OUTCOME: &str = "
    WITH partner AS (
        UPDATE work.partners SET failures = 0, closed_till = '-infinity'
        WHERE tenant = $3 AND target = $4 AND failures > 0 AND $5
    )
    UPDATE work.effects SET outcome = coalesce(outcome, $2::json), due_at = $6 WHERE id = $1 RETURNING outcome";

impl EffectWorker {
    /// Claims due effects of these types, for the tenants in the lanes of this process. Partners with a batch in
    /// progress are left out.
    pub(super) async fn claim_due(
        &self,
        names: &[&str],
        busy: impl Iterator<Item = &Partner>,
    ) -> Result<Vec<PartnerBatch>, sqlx::Error> {
        let (limits, at) = (self.targets.limits(), now());
        let (tenants, targets): (Vec<Uuid>, Vec<&str>) =
            busy.map(|partner| (partner.tenant.uuid(), partner.target.as_str())).unzip();
        let rows = sqlx::query(CLAIM)
            .bind(Timestamptz(at))
            .bind(Timestamptz(time_before(at, limits.age_most)))
            .bind(self.lanes.numbers())
            .bind(names)
            .bind(tenants)
            .bind(targets)
            .bind(limits.failures_most)
            .bind(PARTNER_BATCH)
            .bind(BATCH)
            .bind(Timestamptz(time_after(at, limits.lease())))
            .fetch_all(&self.pool)
            .await?;
        let mut claimed = BTreeMap::<Partner, Vec<ClaimedEffect>>::new();
        for row in &rows {
            let partner = Partner { tenant: TenantId::new(row.try_get("tenant")?), target: row.try_get("target")? };
            claimed.entry(partner).or_default().push(claimed_effect(row)?);
        }
        Ok(claimed.into_iter().map(|(partner, effects)| PartnerBatch { partner, effects }).collect())
    }

    /// Schedules another attempt after a delay.
    pub(super) async fn schedule_retry(
        &self,
        partner: &Partner,
        effect: &ClaimedEffect,
        delay: Duration,
        error: &str,
    ) -> Result<(), sqlx::Error> {
        let (limits, at) = (self.targets.limits(), now());
        sqlx::query(RETRY)
            .bind(effect.id)
            .bind(effect.attempts)
            .bind(Timestamptz(time_after(at, delay)))
            .bind(partner.tenant.uuid())
            .bind(&partner.target)
            .bind(limits.failures_most)
            .bind(Timestamptz(time_after(at, limits.open_time)))
            .bind(error)
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    /// Stores the outcome, before its follow-up command is sent. Returns the stored outcome, which may be that of an
    /// earlier attempt; `None` if another attempt has completed the effect in between.
    pub(super) async fn store_outcome(
        &self,
        partner: &Partner,
        effect: &ClaimedEffect,
        outcome: &Outcome,
    ) -> Result<Option<Outcome>, sqlx::Error> {
        let text = serde_json::to_string(outcome).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let answered = !matches!(outcome, Outcome::GivenUp { .. });
        let stored: Option<Json<Outcome>> = sqlx::query_scalar(STORE_OUTCOME)
            .bind(effect.id)
            .bind(text)
            .bind(partner.tenant.uuid())
            .bind(&partner.target)
            .bind(answered)
            .bind(Timestamptz(now()))
            .fetch_optional(&self.pool)
            .await?;
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
