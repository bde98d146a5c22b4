//! Writes down how far policies have come, together with what must wait and what must be done outside.

use commands::kernel::EffectRequest;
use domain::shared::Timestamp;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::Task;
use super::positions::Move;
use platform::clock::{Timestamptz, now};

/// Everything that one look at the log leads to, beside the commands that were sent.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) moves: Vec<Move>,
    pub(super) timers: Vec<(Timestamp, Task)>,
    pub(super) effects: Vec<Asked>,
}

/// An effect and where it comes from.
pub(super) struct Asked {
    pub(super) policy: &'static str,
    pub(super) causation: Uuid,
    pub(super) wish: EffectRequest,
    pub(super) request: String,
}

impl Progress {
    /// Writes all of it or nothing. Says whether it was written; it is not where a policy is not where it should be,
    /// because somebody else has moved it.
    pub(super) async fn write(&self, pool: &PgPool) -> Result<bool, sqlx::Error> {
        match self.write_with(pool, "").await {
            // Somebody set positions back by hand: what is asked for anew is there already.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                self.write_with(pool, "ON CONFLICT DO NOTHING").await
            }
            written => written,
        }
    }

    async fn write_with(&self, pool: &PgPool, on_conflict: &'static str) -> Result<bool, sqlx::Error> {
        let mut transaction = pool.begin().await?;
        // Should this be lost, it is done again, to the same effect.
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *transaction).await?;
        if !self.move_on(&mut transaction).await? {
            return Ok(false);
        }
        if !self.timers.is_empty() {
            self.set_timers(&mut transaction, on_conflict).await?;
        }
        if !self.effects.is_empty() {
            self.ask_for_effects(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn move_on(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let text = "UPDATE work.policies p SET position = m.upto
                    FROM unnest($1::text[], $2::smallint[], $3::bigint[], $4::bigint[]) AS m(policy, lane, after, upto)
                    WHERE p.policy = m.policy AND p.lane = m.lane AND p.position = m.after";
        let moved = sqlx::query(text)
            .bind(self.moves.iter().map(|step| step.policy).collect::<Vec<_>>())
            .bind(self.moves.iter().map(|step| step.lane.0).collect::<Vec<_>>())
            .bind(self.moves.iter().map(|step| step.from).collect::<Vec<_>>())
            .bind(self.moves.iter().map(|step| step.to).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(usize::try_from(moved.rows_affected()).ok() == Some(self.moves.len()))
    }

    /// Positions moved, so these timers are new: there is nothing to compare them with, which halves what they cost.
    async fn set_timers(&self, connection: &mut PgConnection, on_conflict: &'static str) -> Result<(), sqlx::Error> {
        // Unnesting in the select list: in FROM, every array would first be copied into a store of its own.
        let text = format!(
            "INSERT INTO work.timers (due_at, id, tenant, causation, policy, command, body)
             SELECT unnest($1::timestamptz[]), unnest($2::uuid[]), unnest($3::uuid[]), unnest($4::uuid[]),
                    unnest($5::text[]), unnest($6::text[]), unnest($7::text[])::json {on_conflict}"
        );
        let tasks = || self.timers.iter().map(|(_, task)| task);
        sqlx::query(&text)
            .bind(self.timers.iter().map(|(due, _)| Timestamptz(*due)).collect::<Vec<_>>())
            .bind(tasks().map(|task| task.id.uuid()).collect::<Vec<_>>())
            .bind(tasks().map(|task| task.tenant.uuid()).collect::<Vec<_>>())
            .bind(tasks().map(|task| task.causation).collect::<Vec<_>>())
            .bind(tasks().map(|task| task.policy.as_str()).collect::<Vec<_>>())
            .bind(tasks().map(|task| task.command.as_str()).collect::<Vec<_>>())
            .bind(tasks().map(|task| task.body.as_str()).collect::<Vec<_>>())
            .execute(connection)
            .await
            .map(|_| ())
    }

    async fn ask_for_effects(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let text = "
            WITH asked AS (
                SELECT unnest($1::uuid[]) AS id, unnest($2::uuid[]) AS tenant, unnest($3::text[]) AS target,
                       unnest($4::uuid[]) AS causation, unnest($5::text[]) AS policy, unnest($6::text[]) AS name,
                       unnest($7::text[])::json AS request
            ), partners AS (
                INSERT INTO work.partners SELECT DISTINCT tenant, target, 0, '-infinity'::timestamptz FROM asked
                ON CONFLICT DO NOTHING
            )
            INSERT INTO work.effects (id, tenant, target, due_at, asked_at, attempts, causation, policy, name, request)
            SELECT id, tenant, target, $8, $8, 0, causation, policy, name, request FROM asked ON CONFLICT DO NOTHING";
        let wishes = || self.effects.iter().map(|asked| &asked.wish);
        sqlx::query(text)
            .bind(wishes().map(|wish| wish.id).collect::<Vec<_>>())
            .bind(wishes().map(|wish| wish.tenant.uuid()).collect::<Vec<_>>())
            .bind(wishes().map(|wish| wish.target).collect::<Vec<_>>())
            .bind(self.effects.iter().map(|asked| asked.causation).collect::<Vec<_>>())
            .bind(self.effects.iter().map(|asked| asked.policy).collect::<Vec<_>>())
            .bind(wishes().map(|wish| wish.name).collect::<Vec<_>>())
            .bind(self.effects.iter().map(|asked| asked.request.as_str()).collect::<Vec<_>>())
            .bind(Timestamptz(now()))
            .execute(connection)
            .await
            .map(|_| ())
    }
}
