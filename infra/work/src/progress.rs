//! Progress of policies: their new positions and parked streams, written together with the changes of timers and the
//! effects that they ask for.

use commands::kernel::EffectRequest;
use platform::clock::{Timestamptz, now};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::parked_streams::{ParkedChange, write_parked};
use crate::positions::PositionMove;
use crate::timer_table::{TimerChange, write_timers};

/// New positions, parked streams, changes of timers and effects of policies after one read of events.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) moves: Vec<PositionMove>,
    pub(crate) timers: Vec<TimerChange>,
    pub(crate) effects: Vec<NewEffect>,
    /// Changes of parked streams.
    pub(crate) parked: Vec<ParkedChange>,
}

/// An effect to be stored, with its policy and its cause.
pub(crate) struct NewEffect {
    pub(crate) policy: &'static str,
    pub(crate) causation: Uuid,
    /// Id shared by everything that followed from one request.
    pub(crate) correlation: Uuid,
    pub(crate) request: EffectRequest,
    /// The effect as JSON.
    pub(crate) body: String,
}

impl Progress {
    /// Writes everything in one transaction. Writes nothing and returns false if another process has moved one of the
    /// positions or parked streams in between.
    pub(crate) async fn write(&self, pool: &PgPool) -> Result<bool, sqlx::Error> {
        match self.write_with(pool, true).await {
            // A timer is moved, or is asked for again after a rewind of the positions.
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => self.write_with(pool, false).await,
            written => written,
        }
    }

    async fn write_with(&self, pool: &PgPool, are_timers_new: bool) -> Result<bool, sqlx::Error> {
        let mut transaction = pool.begin().await?;
        // If a crash of the server loses this commit, the same work is repeated with the same ids.
        sqlx::query("SET LOCAL synchronous_commit = off").execute(&mut *transaction).await?;
        if !self.move_positions(&mut transaction).await? {
            return Ok(false);
        }
        if !write_parked(&mut transaction, &self.parked).await? {
            return Ok(false);
        }
        if !self.timers.is_empty() {
            write_timers(&mut transaction, &self.timers, are_timers_new).await?;
        }
        if !self.effects.is_empty() {
            self.insert_effects(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    async fn move_positions(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
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

    async fn insert_effects(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let text = "
            WITH asked AS (
                SELECT unnest($1::uuid[]) AS id, unnest($2::uuid[]) AS tenant, unnest($3::text[]) AS target,
                       unnest($4::uuid[]) AS causation, unnest($5::text[]) AS policy, unnest($6::text[]) AS name,
                       unnest($7::text[])::json AS request, unnest($9::uuid[]) AS correlation
            ), partners AS (
                INSERT INTO work.partners SELECT DISTINCT tenant, target, 0, '-infinity'::timestamptz FROM asked
                ON CONFLICT DO NOTHING
            )
            INSERT INTO work.effects (id, tenant, target, due_at, asked_at, attempts, causation, correlation, policy, name,
                                      request)
            SELECT id, tenant, target, $8, $8, 0, causation, correlation, policy, name, request FROM asked ON CONFLICT DO NOTHING";
        let requests = || self.effects.iter().map(|effect| &effect.request);
        sqlx::query(text)
            .bind(requests().map(|request| request.id).collect::<Vec<_>>())
            .bind(requests().map(|request| request.tenant.uuid()).collect::<Vec<_>>())
            .bind(requests().map(|request| request.target).collect::<Vec<_>>())
            .bind(self.effects.iter().map(|effect| effect.causation).collect::<Vec<_>>())
            .bind(self.effects.iter().map(|effect| effect.policy).collect::<Vec<_>>())
            .bind(requests().map(|request| request.name).collect::<Vec<_>>())
            .bind(self.effects.iter().map(|effect| effect.body.as_str()).collect::<Vec<_>>())
            .bind(Timestamptz(now()))
            .bind(self.effects.iter().map(|effect| effect.correlation).collect::<Vec<_>>())
            .execute(connection)
            .await
            .map(|_| ())
    }
}
