//! Durable timers: rows that are claimed when their time has come and deleted when their command was answered.

use std::collections::BTreeSet;

use domain::shared::{CommandId, TenantId, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};
use tokio_util::sync::CancellationToken;

use super::{PAUSE, PolicyRunner, Task};
use platform::clock::{Timestamptz, now};

/// Timers claimed at a time.
const BATCH: i64 = 500;

impl PolicyRunner {
    pub(super) async fn run_timers(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.fire_once().await {
                Ok(count) if count > 0 => continue,
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "timers cannot go on now"),
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// Sends the commands of the timers that are due, for tenants whose lanes this process writes. The rows stay locked
    /// until they are answered; should this process die, another one sends the same commands again.
    async fn fire_once(&self) -> Result<usize, sqlx::Error> {
        let lanes: Vec<i16> = self.lanes.now().iter().map(|lane| lane.0).collect();
        if lanes.is_empty() {
            return Ok(0);
        }
        let mut transaction = self.pool.begin().await?;
        let due = claim(&mut transaction, &lanes).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let (mut keys, tasks): (Vec<_>, Vec<_>) = due.into_iter().map(|(at, task)| ((at, task.id), task)).unzip();
        // A lane may have changed hands in between; its new owner finds the row.
        let left: BTreeSet<_> = self.carry_out(tasks).await?.iter().map(|task| task.id).collect();
        keys.retain(|(_, id)| !left.contains(id));
        forget(&mut transaction, &keys).await?;
        transaction.commit().await?;
        Ok(keys.len())
    }
}

async fn claim(
    transaction: &mut Transaction<'_, Postgres>,
    lanes: &[i16],
) -> Result<Vec<(Timestamp, Task)>, sqlx::Error> {
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
        let task = Task {
            id: CommandId::new(row.try_get("id")?),
            tenant: TenantId::new(row.try_get("tenant")?),
            policy: row.try_get("policy")?,
            causation: row.try_get("causation")?,
            command: row.try_get("command")?,
            body: row.try_get("body")?,
        };
        Ok((row.try_get::<Timestamptz, _>("due_at")?.0, task))
    })
    .fetch_all(&mut **transaction)
    .await
}

async fn forget(
    transaction: &mut Transaction<'_, Postgres>,
    keys: &[(Timestamp, CommandId)],
) -> Result<(), sqlx::Error> {
    let text = "DELETE FROM work.timers t USING unnest($1::timestamptz[], $2::uuid[]) AS gone(due_at, id)
                WHERE t.due_at = gone.due_at AND t.id = gone.id";
    let (times, ids): (Vec<_>, Vec<_>) = keys.iter().map(|(at, id)| (Timestamptz(*at), id.uuid())).unzip();
    sqlx::query(text).bind(times).bind(ids).execute(&mut **transaction).await.map(|_| ())
}
