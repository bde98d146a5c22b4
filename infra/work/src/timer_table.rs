//! Timer table: changes of timers by policies, due timers, and the removal of those whose command is decided.

use std::collections::HashMap;

use commands::kernel::TimerKey;
use domain::shared::{CommandId, TenantId, Timestamp};
use platform::clock::{Timestamptz, now};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::dispatcher::EngineCommand;

/// Maximum number of timers of one tenant read at a time.
const BATCH: i64 = 500;

/// Name of a timer: a policy has at most one timer per stream and key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TimerId {
    pub(crate) tenant: TenantId,
    pub(crate) policy: String,
    pub(crate) stream: Uuid,
    pub(crate) key: TimerKey,
}

/// A timer with its time and its command.
#[derive(Clone, Debug)]
pub(crate) struct Timer {
    pub(crate) id: TimerId,
    pub(crate) due: Timestamp,
    pub(crate) command: EngineCommand,
}

impl Timer {
    /// A timer that is due at once, for a command that was not decided. Its name is unique to the command.
    pub(crate) fn of_undecided(command: EngineCommand) -> Self {
        let id = TimerId {
            tenant: command.tenant,
            policy: command.policy.clone(),
            stream: command.causation,
            key: command.id.to_string().into(),
        };
        Self { id, due: Timestamp::default(), command }
    }
}

/// Change of a timer.
pub(crate) enum TimerChange {
    /// Sets a timer, or moves the one with this name.
    Set(Timer),
    Cancel(TimerId),
}

/// Writes changes, of which the last one of each timer counts. `is_new`: no timer of these is expected to be there, so that
/// the statement needs no conflict check, which would double its cost; it then fails if there is one.
pub(crate) async fn write_timers(
    connection: &mut PgConnection,
    changes: &[TimerChange],
    is_new: bool,
) -> Result<(), sqlx::Error> {
    let mut last: HashMap<&TimerId, Option<&Timer>> = HashMap::with_capacity(changes.len());
    for change in changes {
        match change {
            TimerChange::Set(timer) => last.insert(&timer.id, Some(timer)),
            TimerChange::Cancel(id) => last.insert(id, None),
        };
    }
    let cancelled: Vec<&TimerId> = last.iter().filter(|(_, timer)| timer.is_none()).map(|(id, _)| *id).collect();
    let set: Vec<&Timer> = last.into_values().flatten().collect();
    if !cancelled.is_empty() {
        cancel(connection, &cancelled).await?;
    }
    if !set.is_empty() {
        insert(connection, &set, is_new).await?;
    }
    Ok(())
}

async fn insert(connection: &mut PgConnection, timers: &[&Timer], is_new: bool) -> Result<(), sqlx::Error> {
    let on_conflict = match is_new {
        true => "",
        false => {
            "ON CONFLICT (stream, tenant, policy, key) DO UPDATE SET due_at = excluded.due_at, id = excluded.id,
             causation = excluded.causation, correlation = excluded.correlation, command = excluded.command,
             body = excluded.body"
        }
    };
    // `unnest` in the select list: in FROM, PostgreSQL would first copy every array into a tuple store.
    let text = format!(
        "INSERT INTO work.timers (stream, tenant, policy, key, due_at, id, causation, correlation, command, body)
         SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::text[]), unnest($4::text[]),
                unnest($5::timestamptz[]), unnest($6::uuid[]), unnest($7::uuid[]), unnest($8::uuid[]),
                unnest($9::text[]), unnest($10::text[])::json {on_conflict}"
    );
    let commands = || timers.iter().map(|timer| &timer.command);
    sqlx::query(&text)
        .bind(timers.iter().map(|timer| timer.id.stream).collect::<Vec<_>>())
        .bind(timers.iter().map(|timer| timer.id.tenant.uuid()).collect::<Vec<_>>())
        .bind(timers.iter().map(|timer| timer.id.policy.as_str()).collect::<Vec<_>>())
        .bind(timers.iter().map(|timer| &*timer.id.key).collect::<Vec<_>>())
        .bind(timers.iter().map(|timer| Timestamptz(timer.due)).collect::<Vec<_>>())
        .bind(commands().map(|command| command.id.uuid()).collect::<Vec<_>>())
        .bind(commands().map(|command| command.causation).collect::<Vec<_>>())
        .bind(commands().map(|command| command.correlation).collect::<Vec<_>>())
        .bind(commands().map(|command| command.name.as_str()).collect::<Vec<_>>())
        .bind(commands().map(|command| command.body.as_str()).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(|_| ())
}

async fn cancel(connection: &mut PgConnection, timers: &[&TimerId]) -> Result<(), sqlx::Error> {
    let text = "DELETE FROM work.timers t
                USING unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS gone(stream, tenant, policy, key)
                WHERE t.stream = gone.stream AND t.tenant = gone.tenant AND t.policy = gone.policy AND t.key = gone.key";
    sqlx::query(text)
        .bind(timers.iter().map(|id| id.stream).collect::<Vec<_>>())
        .bind(timers.iter().map(|id| id.tenant.uuid()).collect::<Vec<_>>())
        .bind(timers.iter().map(|id| id.policy.as_str()).collect::<Vec<_>>())
        .bind(timers.iter().map(|id| &*id.key).collect::<Vec<_>>())
        .execute(connection)
        .await
        .map(|_| ())
}

/// Due timers of one tenant, the earliest first.
pub(crate) async fn read_due(pool: &PgPool, tenant: TenantId) -> Result<Vec<Timer>, sqlx::Error> {
    let text = "SELECT tenant, policy, stream, key, due_at, id, causation, correlation, command, body::text AS body
                FROM work.timers WHERE tenant = $1 AND due_at <= $2 AND NOT EXISTS (SELECT FROM work.hold)
                ORDER BY due_at LIMIT $3";
    let query = sqlx::query(text).bind(tenant.uuid()).bind(Timestamptz(now())).bind(BATCH);
    query.try_map(|row: PgRow| timer(&row)).fetch_all(pool).await
}

fn timer(row: &PgRow) -> Result<Timer, sqlx::Error> {
    let (tenant, policy): (TenantId, String) = (TenantId::new(row.try_get("tenant")?), row.try_get("policy")?);
    let key: String = row.try_get("key")?;
    let id = TimerId { tenant, policy: policy.clone(), stream: row.try_get("stream")?, key: key.into() };
    let command = EngineCommand {
        id: CommandId::new(row.try_get("id")?),
        tenant,
        policy,
        causation: row.try_get("causation")?,
        correlation: row.try_get("correlation")?,
        name: row.try_get("command")?,
        body: row.try_get("body")?,
    };
    Ok(Timer { id, due: row.try_get::<Timestamptz, _>("due_at")?.0, command })
}

/// Deletes timers whose commands are decided, unless they were set again meanwhile, for another command. If a crash of the
/// server undoes this, the commands are sent again and get the same answers.
pub(crate) async fn delete_fired(pool: &PgPool, timers: &[(TimerId, CommandId)]) -> Result<(), sqlx::Error> {
    if timers.is_empty() {
        return Ok(());
    }
    let text = "DELETE FROM work.timers t
                USING unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::uuid[])
                      AS gone(stream, tenant, policy, key, id)
                WHERE t.stream = gone.stream AND t.tenant = gone.tenant AND t.policy = gone.policy
                  AND t.key = gone.key AND t.id = gone.id";
    let mut transaction = pool.begin_with("BEGIN; SET LOCAL synchronous_commit = off").await?;
    sqlx::query(text)
        .bind(timers.iter().map(|(id, _)| id.stream).collect::<Vec<_>>())
        .bind(timers.iter().map(|(id, _)| id.tenant.uuid()).collect::<Vec<_>>())
        .bind(timers.iter().map(|(id, _)| id.policy.as_str()).collect::<Vec<_>>())
        .bind(timers.iter().map(|(id, _)| &*id.key).collect::<Vec<_>>())
        .bind(timers.iter().map(|(_, command)| command.uuid()).collect::<Vec<_>>())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
