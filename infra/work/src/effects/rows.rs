//! The rows of effects and partners: which are due, and what became of an attempt.

use std::collections::BTreeMap;
use std::time::Duration;

use commands::kernel::Outcome;
use domain::shared::{TenantId, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::super::PolicyRunner;
use super::super::waiting::{earlier, later};
use platform::clock::{Timestamptz, now};

/// Effects of one partner that are under way at a time.
const SHARE: i64 = 4;
/// Effects that are begun at a time.
const BATCH: i64 = 256;

/// Who does something for one tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Partner {
    pub(super) tenant: TenantId,
    pub(super) target: String,
}

/// Some effects of one partner.
pub(super) struct Turn {
    pub(super) partner: Partner,
    pub(super) effects: Vec<Due>,
}

/// An effect that this process works on.
pub(super) struct Due {
    pub(super) id: Uuid,
    pub(super) policy: String,
    pub(super) causation: Uuid,
    pub(super) name: String,
    pub(super) request: String,
    pub(super) asked_at: Timestamp,
    /// This one included.
    pub(super) attempts: i32,
    /// Why the one before failed.
    pub(super) trouble: Option<String>,
    /// Known already where only the command is missing that takes note of it.
    pub(super) outcome: Option<Outcome>,
}

/// Each partner is asked for its own share, so that nobody's long queue stands before another's. One that rests is left
/// alone, but for what can be settled without it; one that has rested is tried with one effect.
const BEGIN: &str = "
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
    RETURNING e.tenant, e.target, e.id, e.policy, e.causation, e.name, e.request::text AS request, e.asked_at,
              e.attempts, e.trouble, e.outcome";

/// Nobody who began later may be overtaken: only the last attempt says when the next one is.
const PUT_OFF: &str = "
    WITH partner AS (
        UPDATE work.partners SET failures = failures + 1,
               closed_till = CASE WHEN failures + 1 < $6 THEN closed_till ELSE $7 END
        WHERE tenant = $4 AND target = $5
    )
    UPDATE work.effects SET due_at = $3, trouble = $8 WHERE id = $1 AND attempts = $2 AND outcome IS NULL";

/// The first outcome stays. An answer, even a refusal, shows that the partner is well.
const SETTLE: &str = "
    WITH partner AS (
        UPDATE work.partners SET failures = 0, closed_till = '-infinity'
        WHERE tenant = $3 AND target = $4 AND failures > 0 AND $5
    )
    UPDATE work.effects SET outcome = coalesce(outcome, $2::json), due_at = $6 WHERE id = $1 RETURNING outcome";

impl PolicyRunner {
    /// Claims effects that are due, for tenants whose lanes this process writes.
    pub(super) async fn begin_turns(
        &self,
        names: &[&str],
        busy: impl Iterator<Item = &Partner>,
    ) -> Result<Vec<Turn>, sqlx::Error> {
        let lanes: Vec<i16> = self.lanes.now().iter().map(|lane| lane.0).collect();
        let (limits, at) = (&self.targets.limits, now());
        let (tenants, targets): (Vec<Uuid>, Vec<&str>) =
            busy.map(|partner| (partner.tenant.uuid(), partner.target.as_str())).unzip();
        let rows = sqlx::query(BEGIN)
            .bind(Timestamptz(at))
            .bind(Timestamptz(earlier(at, limits.age_most)))
            .bind(lanes)
            .bind(names)
            .bind(tenants)
            .bind(targets)
            .bind(limits.failures_most)
            .bind(SHARE)
            .bind(BATCH)
            .bind(Timestamptz(later(at, limits.lease())))
            .fetch_all(&self.pool)
            .await?;
        let mut turns = BTreeMap::<Partner, Vec<Due>>::new();
        for row in &rows {
            let partner = Partner { tenant: TenantId::new(row.try_get("tenant")?), target: row.try_get("target")? };
            turns.entry(partner).or_default().push(due(row)?);
        }
        Ok(turns.into_iter().map(|(partner, effects)| Turn { partner, effects }).collect())
    }

    /// Has it tried again later.
    pub(super) async fn put_off(
        &self,
        partner: &Partner,
        effect: &Due,
        pause: Duration,
        trouble: &str,
    ) -> Result<(), sqlx::Error> {
        let (limits, at) = (&self.targets.limits, now());
        sqlx::query(PUT_OFF)
            .bind(effect.id)
            .bind(effect.attempts)
            .bind(Timestamptz(later(at, pause)))
            .bind(partner.tenant.uuid())
            .bind(&partner.target)
            .bind(limits.failures_most)
            .bind(Timestamptz(later(at, limits.rest)))
            .bind(trouble)
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    /// Writes the outcome down, before anybody is told. Hands back the one that stays; nothing where another attempt
    /// has settled everything meanwhile.
    pub(super) async fn settle(
        &self,
        partner: &Partner,
        effect: &Due,
        outcome: &Outcome,
    ) -> Result<Option<Outcome>, sqlx::Error> {
        let text = serde_json::to_string(outcome).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let answered = !matches!(outcome, Outcome::GivenUp { .. });
        let stays: Option<Json<Outcome>> = sqlx::query_scalar(SETTLE)
            .bind(effect.id)
            .bind(text)
            .bind(partner.tenant.uuid())
            .bind(&partner.target)
            .bind(answered)
            .bind(Timestamptz(now()))
            .fetch_optional(&self.pool)
            .await?;
        Ok(stays.map(|Json(outcome)| outcome))
    }

    pub(super) async fn forget(&self, effect: &Due) -> Result<(), sqlx::Error> {
        sqlx::query("DELETE FROM work.effects WHERE id = $1").bind(effect.id).execute(&self.pool).await.map(|_| ())
    }
}

fn due(row: &PgRow) -> Result<Due, sqlx::Error> {
    Ok(Due {
        id: row.try_get("id")?,
        policy: row.try_get("policy")?,
        causation: row.try_get("causation")?,
        name: row.try_get("name")?,
        request: row.try_get("request")?,
        asked_at: row.try_get::<Timestamptz, _>("asked_at")?.0,
        attempts: row.try_get("attempts")?,
        trouble: row.try_get("trouble")?,
        outcome: row.try_get::<Option<Json<Outcome>>, _>("outcome")?.map(|Json(outcome)| outcome),
    })
}
