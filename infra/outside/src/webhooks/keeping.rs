//! Brings the cursors of a subscription to where the log says that they should be: the target of the effect that follows
//! every change of a subscription.

use async_trait::async_trait;
use commands::integrations::KeepCursors;
use domain::shared::{TenantId, WebhookSubscriptionId};
use sqlx::{PgConnection, PgPool};

use super::log;
use platform::clock::{Timestamptz, now};
use work::{Attempt, Request, Target};

/// Keeps the cursors.
pub struct CursorKeeper {
    pub pool: PgPool,
}

#[async_trait]
impl Target for CursorKeeper {
    async fn perform(&self, request: &Request) -> Attempt {
        let effect: KeepCursors = match serde_json::from_str(&request.body) {
            Ok(effect) => effect,
            Err(error) => return Attempt::Refused(error.to_string()),
        };
        match self.keep(request.tenant, effect.subscription).await {
            Ok(()) => Attempt::Done(serde_json::Value::Null),
            Err(error) => Attempt::Failed(error.to_string()),
        }
    }
}

impl CursorKeeper {
    async fn keep(&self, tenant: TenantId, id: WebhookSubscriptionId) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // Who comes later reads the log later: what is written last is never older than what was written before.
        let turn = "SELECT pg_advisory_xact_lock(hashtextextended($1, 42))";
        sqlx::query(turn).bind(id.to_string()).execute(&mut *transaction).await?;
        let lane: i16 = sqlx::query_scalar("SELECT lane FROM log.routes WHERE tenant = $1")
            .bind(tenant.uuid())
            .fetch_one(&mut *transaction)
            .await?;
        let known = log::history(&mut transaction, lane, tenant, id).await?;
        match known.filter(|known| known.state.is_open()) {
            Some(known) => keep_standing(&mut transaction, tenant, id, &known).await?,
            None => forget(&mut transaction, id).await?,
        }
        transaction.commit().await
    }
}

async fn keep_standing(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: WebhookSubscriptionId,
    known: &log::Known,
) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO work.webhooks (subscription, tenant) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    sqlx::query(text).bind(id.uuid()).bind(tenant.uuid()).execute(&mut *connection).await?;
    let text = "INSERT INTO work.webhook_cursors (subscription, replay, tenant, position, due_at)
                VALUES ($1, false, $2, $3, $4) ON CONFLICT DO NOTHING";
    sqlx::query(text)
        .bind(id.uuid())
        .bind(tenant.uuid())
        .bind(known.begun_at)
        .bind(Timestamptz(now()))
        .execute(&mut *connection)
        .await?;
    if let Some((from, to)) = known.state.replay_range() {
        // The same order again changes nothing; a later one takes its place, but waits as long as the one before had to.
        let text = "INSERT INTO work.webhook_cursors (subscription, replay, tenant, position, upto, ordered, due_at)
                    VALUES ($1, true, $2, $3, $4, $5, $6)
                    ON CONFLICT (subscription, replay) DO UPDATE SET position = excluded.position,
                        upto = excluded.upto, ordered = excluded.ordered, turn = work.webhook_cursors.turn + 1,
                        due_at = CASE WHEN isfinite(work.webhook_cursors.due_at) AND work.webhook_cursors.attempts > 0
                                      THEN work.webhook_cursors.due_at ELSE excluded.due_at END
                    WHERE work.webhook_cursors.ordered < excluded.ordered";
        sqlx::query(text)
            .bind(id.uuid())
            .bind(tenant.uuid())
            .bind(from.saturating_sub(1))
            .bind(to.min(known.ordered_at))
            .bind(known.ordered_at)
            .bind(Timestamptz(now()))
            .execute(&mut *connection)
            .await?;
    }
    // Whoever works on them meanwhile finds that it is no longer its turn. A range that was sent to its end stays so. Only
    // being resumed and another address end the waiting after a failure: nothing else says that the address is mended.
    // After a restore the same subscription may have been made anew, later than its cursor went back to.
    let text = "UPDATE work.webhook_cursors SET turn = turn + 1, mended = $4,
                       attempts = CASE WHEN mended < $4 THEN 0 ELSE attempts END, due_at = coalesce($2, 'infinity'),
                       position = CASE WHEN replay THEN position ELSE greatest(position, $3) END
                WHERE subscription = $1 AND (upto IS NULL OR position < upto)
                  AND ($2 IS NULL OR mended < $4 OR NOT isfinite(due_at))";
    let due_at = known.state.active_terms().map(|_| Timestamptz(now()));
    let query = sqlx::query(text).bind(id.uuid()).bind(due_at).bind(known.begun_at).bind(known.mended_at);
    query.execute(connection).await.map(|_| ())
}

/// Cursors first: whoever settles an attempt takes the rows in this order.
async fn forget(connection: &mut PgConnection, id: WebhookSubscriptionId) -> Result<(), sqlx::Error> {
    for text in [
        "DELETE FROM work.webhook_cursors WHERE subscription = $1",
        "DELETE FROM work.webhooks WHERE subscription = $1",
    ] {
        sqlx::query(text).bind(id.uuid()).execute(&mut *connection).await?;
    }
    Ok(())
}
