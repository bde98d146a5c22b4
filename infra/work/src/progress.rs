//! Progress of policies: their new positions and parked streams, written together with the changes of timers and the
//! effects that they ask for.

use std::collections::BTreeMap;

use commands::kernel::EffectRequest;
use domain::shared::Timestamp;
use platform::clock::{Timestamptz, now};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::parked_streams::{ParkedChange, write_parked};
use crate::positions::PositionMove;
use crate::queue::{QueueKey, wake};
use crate::timer_table::{TimerChange, write_timers};
use crate::{command_queue, effects};

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
        wake(&mut transaction, &self.due_queues()).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The queues that get items, each with the time at which the first of these is due.
    fn due_queues(&self) -> BTreeMap<QueueKey, Timestamp> {
        let timers = self.timers.iter().filter_map(|change| match change {
            TimerChange::Set(timer) => Some((command_queue::queue_of(timer.id.tenant), timer.due)),
            TimerChange::Cancel(_) => None,
        });
        let at = now();
        let effects =
            self.effects.iter().map(|effect| (effects::queue_of(effect.request.tenant, effect.request.target), at));
        let mut queues = BTreeMap::new();
        for (queue, due) in timers.chain(effects) {
            let first: &mut Timestamp = queues.entry(queue).or_insert(due);
            *first = due.min(*first);
        }
        queues
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
            INSERT INTO work.effects (id, tenant, target, due_at, asked_at, attempts, causation, correlation, policy, name,
                                      request)
            SELECT unnest($1::uuid[]), unnest($2::uuid[]), unnest($3::text[]), $8, $8, 0, unnest($4::uuid[]),
                   unnest($9::uuid[]), unnest($5::text[]), unnest($6::text[]), unnest($7::text[])::json
            ON CONFLICT DO NOTHING";
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
