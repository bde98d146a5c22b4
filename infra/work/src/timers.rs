//! Timer worker: claims the rows of due timers, sends their commands and deletes the rows when these are answered.

use std::collections::BTreeSet;

use domain::shared::{CommandId, TenantId, Timestamp};
use platform::clock::{Timestamptz, now};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, Row, Transaction};
use tokio_util::sync::CancellationToken;

use crate::dispatcher::{Dispatcher, EngineCommand};
use crate::lanes::{Lanes, POLL_INTERVAL};

/// Maximum number of timers claimed at a time.
const BATCH: i64 = 500;

/// Fires the timers of the tenants in the lanes of this process.
pub(crate) struct TimerWorker {
    pub(crate) pool: PgPool,
    pub(crate) lanes: Lanes,
    pub(crate) dispatcher: Dispatcher,
}

impl TimerWorker {
    pub(crate) async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.fire_due().await {
                Ok(count) if count > 0 => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "timers cannot fire now; trying again"),
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Sends the commands of the due timers and returns their number. The rows stay locked until the commands are
    /// answered; if this process dies before, another one sends the same commands again.
    async fn fire_due(&self) -> Result<usize, sqlx::Error> {
        let lanes = self.lanes.numbers();
        if lanes.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.pool.begin().await?;
        let due = claim_due(&mut transaction, &lanes).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let (mut keys, commands): (Vec<_>, Vec<_>) =
            due.into_iter().map(|(at, command)| ((at, command.id), command)).unzip();
        // The row of a command whose lane has another owner by now is left to that owner.
        let elsewhere: BTreeSet<_> =
            self.dispatcher.dispatch(commands).await?.iter().map(|command| command.id).collect();
        keys.retain(|(_, id)| !elsewhere.contains(id));
        delete(&mut transaction, &keys).await?;
        transaction.commit().await?;
        Ok(keys.len())
    }
}

async fn claim_due(
    transaction: &mut Transaction<'_, Postgres>,
    lanes: &[i16],
) -> Result<Vec<(Timestamp, EngineCommand)>, sqlx::Error> {
    sqlx::query(
        "SELECT t.due_at, t.id, t.tenant, t.policy, t.causation, t.command, t.body::text AS body
         FROM work.timers t JOIN log.routes r ON r.tenant = t.tenant
         WHERE t.due_at <= $1 AND r.lane = ANY($3) AND NOT EXISTS (SELECT FROM work.hold)
         ORDER BY t.due_at LIMIT $2 FOR UPDATE OF t SKIP LOCKED",
    )
    .bind(Timestamptz(now()))
    .bind(BATCH)
    .bind(lanes)
    .try_map(|row: PgRow| {
        let command = EngineCommand {
            id: CommandId::new(row.try_get("id")?),
            tenant: TenantId::new(row.try_get("tenant")?),
            policy: row.try_get("policy")?,
            causation: row.try_get("causation")?,
            name: row.try_get("command")?,
            body: row.try_get("body")?,
        };
        Ok((row.try_get::<Timestamptz, _>("due_at")?.0, command))
    })
    .fetch_all(&mut **transaction)
    .await
}

async fn delete(
    transaction: &mut Transaction<'_, Postgres>,
    keys: &[(Timestamp, CommandId)],
) -> Result<(), sqlx::Error> {
    let text = "DELETE FROM work.timers t USING unnest($1::timestamptz[], $2::uuid[]) AS gone(due_at, id)
                WHERE t.due_at = gone.due_at AND t.id = gone.id";
    let (times, ids): (Vec<_>, Vec<_>) = keys.iter().map(|(at, id)| (Timestamptz(*at), id.uuid())).unzip();
    sqlx::query(text).bind(times).bind(ids).execute(&mut **transaction).await.map(|_| ())
}
