//! Durable timers: rows that are claimed when their time has come and deleted when their command was answered.

use domain::shared::{CommandId, TenantId};
use sqlx::postgres::PgRow;
use sqlx::{Postgres, Row, Transaction};
use tokio_util::sync::CancellationToken;

use super::{PAUSE, PolicyRunner, Task};
use crate::scribe::{Micros, now};

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

    /// Sends the commands of the timers that are due. The rows stay locked until they are answered, so that several
    /// processes share the work; should this process die, another one sends the same commands again.
    async fn fire_once(&self) -> Result<usize, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let due = claim(&mut transaction).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let ids: Vec<_> = due.iter().map(|task| task.id.uuid()).collect();
        self.carry_out(due).await?;
        sqlx::query("DELETE FROM work.timers WHERE id = ANY($1)").bind(&ids).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(ids.len())
    }
}

async fn claim(transaction: &mut Transaction<'_, Postgres>) -> Result<Vec<Task>, sqlx::Error> {
    sqlx::query(
        "SELECT id, tenant, policy, causation, command, body::text AS body FROM work.timers
         WHERE due_at <= $1 ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED",
    )
    .bind(Micros(now()))
    .bind(BATCH)
    .try_map(|row: PgRow| {
        Ok(Task {
            id: CommandId::new(row.try_get("id")?),
            tenant: TenantId::new(row.try_get("tenant")?),
            policy: row.try_get("policy")?,
            causation: row.try_get("causation")?,
            command: row.try_get("command")?,
            body: row.try_get("body")?,
        })
    })
    .fetch_all(&mut **transaction)
    .await
}
