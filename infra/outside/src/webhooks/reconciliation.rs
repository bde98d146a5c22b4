//! Cursor reconciliation: creates, updates or deletes the cursors of a subscription according to its state in the log, and
//! the dead letter of one that the engine has paused.
//! Every change of a subscription requests it as an effect.

use api::port::DeadLetterKind;
use async_trait::async_trait;
use commands::integrations::{KeepCursors, ResumeSubscription};
use commands::kernel::AnyCommand;
use domain::shared::{TenantId, WebhookSubscriptionId};
use platform::clock::{Timestamptz, now};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;
use work::{AttemptResult, EffectCall, Target};

use super::log_reader::{self, EnginePause, SubscriptionHistory};

/// Target of the effects that reconcile cursors.
pub struct CursorReconciler {
    pub pool: PgPool,
}

#[async_trait]
impl Target for CursorReconciler {
    async fn perform(&self, call: &EffectCall) -> AttemptResult {
        let effect: KeepCursors = match serde_json::from_str(&call.body) {
            Ok(effect) => effect,
            Err(error) => return AttemptResult::Refused(error.to_string()),
        };
        match self.reconcile(call.tenant, effect.subscription).await {
            Ok(()) => AttemptResult::Done(serde_json::Value::Null),
            Err(error) => AttemptResult::Failed(error.to_string()),
        }
    }
}

impl CursorReconciler {
    async fn reconcile(&self, tenant: TenantId, id: WebhookSubscriptionId) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // Each reconciliation of a subscription reads the log under the lock, so that a later one cannot write an older
        // state.
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1, 42))";
        sqlx::query(lock).bind(id.to_string()).execute(&mut *transaction).await?;
        let lane: i16 = sqlx::query_scalar("SELECT lane FROM log.routes WHERE tenant = $1")
            .bind(tenant.uuid())
            .fetch_one(&mut *transaction)
            .await?;
        let history = log_reader::subscription_history(&mut transaction, lane, tenant, id).await?;
        let history = history.filter(|history| history.state.is_open());
        match &history {
            Some(history) => update_cursors(&mut transaction, tenant, id, history).await?,
            None => delete_cursors(&mut transaction, id).await?,
        }
        let pause = history.and_then(|history| history.pause);
        keep_letter(&mut transaction, tenant, id, pause.as_ref()).await?;
        transaction.commit().await
    }
}

async fn update_cursors(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: WebhookSubscriptionId,
    history: &SubscriptionHistory,
) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO work.webhooks (subscription, tenant) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    sqlx::query(text).bind(id.uuid()).bind(tenant.uuid()).execute(&mut *connection).await?;
    let text = "WITH created AS (
                    INSERT INTO work.webhook_cursors (subscription, replay, tenant, position) VALUES ($1, false, $2, $3)
                    ON CONFLICT DO NOTHING RETURNING queue
                )
                INSERT INTO work.queues (tenant, kind, name, due_at) SELECT $2, 'webhooks', queue, $4 FROM created
                ON CONFLICT DO NOTHING";
    sqlx::query(text)
        .bind(id.uuid())
        .bind(tenant.uuid())
        .bind(history.created_at)
        .bind(Timestamptz(now()))
        .execute(&mut *connection)
        .await?;
    if let Some((from, to)) = history.state.replay_range() {
        // A later order of a replay replaces the earlier one, but the delay after a failure remains.
        let text = "
            WITH ordered AS (
                INSERT INTO work.webhook_cursors (subscription, replay, tenant, position, upto, ordered)
                VALUES ($1, true, $2, $3, $4, $5)
                ON CONFLICT (subscription, replay) DO UPDATE SET position = excluded.position, upto = excluded.upto,
                    ordered = excluded.ordered
                WHERE work.webhook_cursors.ordered < excluded.ordered RETURNING queue
            )
            INSERT INTO work.queues AS q (tenant, kind, name, due_at) SELECT $2, 'webhooks', queue, $6 FROM ordered
            ON CONFLICT (tenant, kind, name) DO UPDATE SET fence = q.fence + 1, leased_until = '-infinity',
                due_at = CASE WHEN isfinite(q.due_at) AND q.failures > 0 THEN q.due_at ELSE excluded.due_at END";
        sqlx::query(text)
            .bind(id.uuid())
            .bind(tenant.uuid())
            .bind(from.saturating_sub(1))
            .bind(to.min(history.replay_ordered_at))
            .bind(history.replay_ordered_at)
            .bind(Timestamptz(now()))
            .execute(&mut *connection)
            .await?;
    }
    // The new fence ends a run in progress. A replay that has reached its end stays complete. Only a resumption and
    // another URL end the delay after a failure (`mended`): other changes do not indicate that the receiver works again.
    // After a restore the same subscription may have been created again, at a position after its cursor, which then
    // moves there.
    let text = "
        WITH changed AS (
            SELECT c.subscription, c.replay, c.queue, c.tenant, c.mended < $4 AS is_mended
            FROM work.webhook_cursors c
            JOIN work.queues q ON q.tenant = c.tenant AND q.kind = 'webhooks' AND q.name = c.queue
            WHERE c.subscription = $1 AND (c.upto IS NULL OR c.position < c.upto)
              AND ($2 IS NULL OR c.mended < $4 OR NOT isfinite(q.due_at))
            FOR UPDATE OF q
        ), moved AS (
            UPDATE work.webhook_cursors c SET mended = $4,
                   position = CASE WHEN c.replay THEN c.position ELSE greatest(c.position, $3) END
            FROM changed WHERE c.subscription = changed.subscription AND c.replay = changed.replay
        )
        UPDATE work.queues q SET fence = q.fence + 1, leased_until = '-infinity', due_at = coalesce($2, 'infinity'),
               failures = CASE WHEN changed.is_mended THEN 0 ELSE q.failures END,
               closed_until = CASE WHEN changed.is_mended THEN '-infinity' ELSE q.closed_until END
        FROM changed WHERE q.tenant = changed.tenant AND q.kind = 'webhooks' AND q.name = changed.queue";
    let due_at = history.state.active_terms().map(|_| Timestamptz(now()));
    let query = sqlx::query(text).bind(id.uuid()).bind(due_at).bind(history.created_at).bind(history.reset_at);
    query.execute(connection).await.map(|_| ())
}

/// Keeps a dead letter of the subscription while the engine has it paused. The letter is the command that resumes it.
async fn keep_letter(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: WebhookSubscriptionId,
    pause: Option<&EnginePause>,
) -> Result<(), sqlx::Error> {
    // One letter per pause, so that the command of a later one is not taken for a repeat.
    let letter = |pause: &EnginePause| Uuid::new_v5(&pause.event, b"dead letter");
    let text = "DELETE FROM work.dead_letters
                WHERE tenant = $1 AND kind = 'webhook' AND body->>'subscription' = $2 AND id IS DISTINCT FROM $3";
    let delete = sqlx::query(text).bind(tenant.uuid()).bind(id.to_string()).bind(pause.map(letter));
    delete.execute(&mut *connection).await?;
    let Some(pause) = pause else { return Ok(()) };
    let resume = ResumeSubscription { subscription: id };
    let (name, body) = (AnyCommand::name(&resume), AnyCommand::to_json(&resume));
    let body = body.map_err(|error| sqlx::Error::Encode(error.into()))?;
    let text = "INSERT INTO work.dead_letters (id, tenant, kind, policy, causation, name, body, attempts, reason)
                SELECT $1, $2, $3, 'webhooks', $4, $5, $6::json, greatest(max(q.failures), 1), $7
                FROM work.webhook_cursors c
                JOIN work.queues q ON q.tenant = c.tenant AND q.kind = 'webhooks' AND q.name = c.queue
                WHERE c.subscription = $8
                ON CONFLICT DO NOTHING";
    let insert = sqlx::query(text).bind(letter(pause)).bind(tenant.uuid()).bind(DeadLetterKind::Webhook.name());
    let insert = insert.bind(pause.event).bind(&*name).bind(body).bind(&pause.reason).bind(id.uuid());
    insert.execute(connection).await.map(|_| ())
}

/// Deletes the rows in the order in which the statement that records an attempt locks them, to avoid a deadlock.
async fn delete_cursors(connection: &mut PgConnection, id: WebhookSubscriptionId) -> Result<(), sqlx::Error> {
    for text in [
        "DELETE FROM work.queues q USING work.webhook_cursors c
         WHERE c.subscription = $1 AND q.tenant = c.tenant AND q.kind = 'webhooks' AND q.name = c.queue",
        "DELETE FROM work.webhook_cursors WHERE subscription = $1",
        "DELETE FROM work.webhooks WHERE subscription = $1",
    ] {
        sqlx::query(text).bind(id.uuid()).execute(&mut *connection).await?;
    }
    Ok(())
}
