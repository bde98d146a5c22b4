//! Dead letters: work that failed for good is kept here until an operator requeues or discards it. Events that policies
//! and read models cannot read are listed with them; an operator can have them tried again now.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::port::{DeadLetter, DeadLetterKind, LetterCursor, LetterRemoval};
use commands::kernel::Commands;
use domain::shared::{CommandId, TenantId};
use platform::clock::{Timestamptz, now};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, PgPool, Row};
use uuid::Uuid;

use crate::dispatcher::EngineCommand;
use crate::queue::wake;
use crate::timer_table::{Timer, TimerChange, write_timers};
use crate::{command_queue, effects};

/// Selects all letters. The id of an event that cannot be read is derived from its place.
const LETTERS: &str = "
    WITH letters AS (
        SELECT id, tenant, kind, policy AS source, name, body::text AS body, reason, attempts, failed_at
        FROM work.dead_letters
        UNION ALL
        SELECT md5(concat_ws('/', policy, lane, tenant, stream_type, stream_id))::uuid, tenant, 'policy_stream', policy,
               stream_type, json_build_object('stream', stream_id, 'lane', lane, 'position', position)::text, reason, 1,
               parked_at
        FROM work.parked
        UNION ALL
        SELECT md5(concat_ws('/', model, shape, lane, position, key))::uuid, tenant, 'read_model_key', model,
               coalesce(stream_type, 'key'),
               json_build_object('key', key, 'stream', stream_id, 'lane', lane, 'position', position)::text, reason, 1,
               parked_at
        FROM reads.parked JOIN reads.live USING (model, shape)
    )
    SELECT id, tenant, kind, source, name, body, reason, attempts, failed_at FROM letters";

/// Dead letters and their changes, for operators.
#[derive(Clone)]
pub struct DeadLetters {
    pub pool: PgPool,
    /// The commands and effects that can be requeued.
    pub commands: Arc<Commands>,
}

impl DeadLetters {
    /// Letters of a tenant, or of all tenants, after a cursor; newest first.
    pub async fn list(
        &self,
        scope: Option<TenantId>,
        after: Option<LetterCursor>,
        first: u32,
    ) -> Result<Vec<DeadLetter>, sqlx::Error> {
        let text = format!(
            "{LETTERS} WHERE ($1::uuid IS NULL OR tenant = $1) AND ($2::timestamptz IS NULL OR (failed_at, id) < ($2, $3))
             ORDER BY failed_at DESC, id DESC LIMIT $4"
        );
        sqlx::query(&text)
            .bind(scope.map(TenantId::uuid))
            .bind(after.map(|cursor| Timestamptz(cursor.failed_at)))
            .bind(after.map(|cursor| cursor.id))
            .bind(i64::from(first))
            .try_map(|row: PgRow| letter(&row))
            .fetch_all(&self.pool)
            .await
    }

    /// Makes the work of a letter due at once, under the same ids, and removes the letter.
    pub async fn requeue(&self, scope: Option<TenantId>, id: Uuid) -> Result<LetterRemoval, sqlx::Error> {
        self.remove(scope, id, true).await
    }

    /// Removes a letter for good.
    pub async fn discard(&self, scope: Option<TenantId>, id: Uuid) -> Result<LetterRemoval, sqlx::Error> {
        self.remove(scope, id, false).await
    }

    async fn remove(&self, scope: Option<TenantId>, id: Uuid, requeue: bool) -> Result<LetterRemoval, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        let text = format!("{LETTERS} WHERE id = $1 AND ($2::uuid IS NULL OR tenant = $2)");
        let query = sqlx::query(&text).bind(id).bind(scope.map(TenantId::uuid));
        let found = query.try_map(|row: PgRow| letter(&row)).fetch_optional(&mut *transaction).await?;
        let Some(letter) = found else { return Ok(LetterRemoval::Unknown) };
        if let Some(mark) = mark_of_retry(letter.kind) {
            if !requeue {
                let reason = "the engine tries this event again by itself, until it can be read";
                return Ok(LetterRemoval::Refused(reason.into()));
            }
            sqlx::query(mark).bind(id).execute(&mut *transaction).await?;
            transaction.commit().await?;
            return Ok(LetterRemoval::Removed(Box::new(letter)));
        }
        let text = "DELETE FROM work.dead_letters WHERE id = $1 RETURNING causation, correlation, body::text AS body";
        let deleted = sqlx::query(text).bind(id).fetch_optional(&mut *transaction).await?;
        let Some(row) = deleted else { return Ok(LetterRemoval::Unknown) };
        if requeue && let Err(reason) = self.requeue_in(&mut transaction, &letter, &row).await? {
            return Ok(LetterRemoval::Refused(reason));
        }
        transaction.commit().await?;
        let (kind, name, tenant) = (letter.kind.name(), &letter.name, letter.tenant);
        tracing::info!(%id, kind, name, %tenant, requeue, "a dead letter was removed by an operator");
        Ok(LetterRemoval::Removed(Box::new(letter)))
    }

    /// Stores the work of a letter in its queue. Returns the reason if this version does not know the work.
    async fn requeue_in(
        &self,
        connection: &mut PgConnection,
        letter: &DeadLetter,
        row: &PgRow,
    ) -> Result<Result<(), String>, sqlx::Error> {
        let (at, body): (_, String) = (now(), row.try_get("body")?);
        let queue = if letter.kind == DeadLetterKind::Effect {
            let Some(effect) = self.commands.effect_descriptor(&letter.name) else {
                return Ok(Err(format!("this version has no effect {}", letter.name)));
            };
            let text =
                "INSERT INTO work.effects (id, tenant, target, due_at, asked_at, attempts, causation, correlation,
                                                  policy, name, request)
                        VALUES ($1, $2, $3, $4, $4, 0, $5, $6, $7, $8, $9::json) ON CONFLICT DO NOTHING";
            let insert = sqlx::query(text).bind(letter.id).bind(letter.tenant.uuid()).bind(effect.target);
            let insert = insert.bind(Timestamptz(at)).bind(row.try_get::<Uuid, _>("causation")?);
            let insert = insert.bind(row.try_get::<Option<Uuid>, _>("correlation")?).bind(&letter.source);
            insert.bind(&letter.name).bind(&body).execute(&mut *connection).await?;
            effects::queue_of(letter.tenant, effect.target)
        } else {
            if self.commands.get(&letter.name).is_none() {
                return Ok(Err(format!("this version has no command {}", letter.name)));
            }
            let command = EngineCommand {
                id: CommandId::new(letter.id),
                tenant: letter.tenant,
                policy: letter.source.clone(),
                causation: row.try_get("causation")?,
                correlation: row.try_get("correlation")?,
                name: letter.name.clone(),
                body,
            };
            write_timers(&mut *connection, &[TimerChange::Set(Timer::of_undecided(command))], false).await?;
            command_queue::queue_of(letter.tenant)
        };
        wake(connection, &BTreeMap::from([(queue, at)])).await?;
        Ok(Ok(()))
    }
}

/// Statement that asks for another attempt at an event that cannot be read; `None` for other kinds of letters.
const fn mark_of_retry(kind: DeadLetterKind) -> Option<&'static str> {
    match kind {
        DeadLetterKind::PolicyStream => Some(
            "UPDATE work.parked SET retry_asked = true
             WHERE md5(concat_ws('/', policy, lane, tenant, stream_type, stream_id))::uuid = $1",
        ),
        DeadLetterKind::ReadModelKey => Some(
            "UPDATE reads.parked SET retry_asked = true
             WHERE md5(concat_ws('/', model, shape, lane, position, key))::uuid = $1",
        ),
        DeadLetterKind::Command | DeadLetterKind::Effect | DeadLetterKind::Webhook => None,
    }
}

fn letter(row: &PgRow) -> Result<DeadLetter, sqlx::Error> {
    let (kind, body): (String, String) = (row.try_get("kind")?, row.try_get("body")?);
    let kind = DeadLetterKind::ALL.into_iter().find(|known| known.name() == kind);
    Ok(DeadLetter {
        id: row.try_get("id")?,
        tenant: TenantId::new(row.try_get("tenant")?),
        kind: kind.ok_or_else(|| sqlx::Error::Decode("an unknown kind of dead letter".into()))?,
        source: row.try_get("source")?,
        name: row.try_get("name")?,
        body: serde_json::from_str(&body).unwrap_or(serde_json::Value::String(body)),
        reason: row.try_get("reason")?,
        attempts: row.try_get("attempts")?,
        failed_at: row.try_get::<Timestamptz, _>("failed_at")?.0,
    })
}
