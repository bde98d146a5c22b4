//! Operations: what operators see and change of background work, through the port of the API.

use std::sync::Arc;

use api::port::{Breaker, BreakerState, DeadLetter, LetterCursor, LetterRemoval, ProcessStatus, Work};
use commands::kernel::Commands;
use domain::shared::TenantId;
use futures::FutureExt;
use futures::future::BoxFuture;
use platform::clock::{Timestamptz, now};
use projections::ports::{Cause, Fault};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::dead_letters::DeadLetters;

/// Implementation of the port [`Work`].
pub struct Operations {
    letters: DeadLetters,
}

impl Operations {
    pub fn new(pool: PgPool, commands: Arc<Commands>) -> Self {
        Self { letters: DeadLetters { pool, commands } }
    }

    async fn read_processes(&self) -> Result<Vec<ProcessStatus>, sqlx::Error> {
        let text = "
            SELECT p.policy, p.lane, p.position, greatest(coalesce(head.position, 0) - p.position, 0) AS lag,
                   (SELECT count(*) FROM work.parked k WHERE k.policy = p.policy AND k.lane = p.lane) AS parked
            FROM work.policies p LEFT JOIN LATERAL
                 (SELECT position FROM log.events WHERE lane = p.lane ORDER BY position DESC LIMIT 1) AS head ON true
            ORDER BY p.policy, p.lane";
        let status = |row: PgRow| {
            Ok(ProcessStatus {
                policy: row.try_get("policy")?,
                lane: row.try_get("lane")?,
                position: row.try_get("position")?,
                lag: row.try_get("lag")?,
                parked_streams: row.try_get("parked")?,
            })
        };
        sqlx::query(text).try_map(status).fetch_all(&self.letters.pool).await
    }

    async fn read_breakers(&self, scope: Option<TenantId>) -> Result<Vec<BreakerState>, sqlx::Error> {
        let text = "SELECT tenant, CASE kind WHEN 'webhooks' THEN 'webhook ' || name ELSE name END AS name, failures,
                           nullif(closed_until, '-infinity') AS closed_until, closed_until > $2 AS is_open
                    FROM work.queues WHERE kind IN ('effects', 'webhooks') AND ($1::uuid IS NULL OR tenant = $1)
                    ORDER BY tenant, kind, name";
        let breaker = |row: PgRow| {
            let closed_until = row.try_get::<Option<Timestamptz>, _>("closed_until")?.map(|Timestamptz(until)| until);
            let is_open: bool = row.try_get("is_open")?;
            Ok(BreakerState {
                tenant: TenantId::new(row.try_get("tenant")?),
                partner: row.try_get("name")?,
                state: match closed_until {
                    None => Breaker::Closed,
                    Some(_) if is_open => Breaker::Open,
                    Some(_) => Breaker::HalfOpen,
                },
                failures: row.try_get("failures")?,
                open_until: closed_until,
            })
        };
        let query = sqlx::query(text).bind(scope.map(TenantId::uuid)).bind(Timestamptz(now()));
        query.try_map(breaker).fetch_all(&self.letters.pool).await
    }
}

impl Work for Operations {
    fn dead_letters(
        &self,
        scope: Option<TenantId>,
        after: Option<LetterCursor>,
        first: u32,
    ) -> BoxFuture<'_, Result<Vec<DeadLetter>, Fault>> {
        let letters = async move { self.letters.list(scope, after, first).await };
        letters.map(|letters| letters.map_err(unavailable("reading dead letters"))).boxed()
    }

    fn remove_dead_letter(
        &self,
        scope: Option<TenantId>,
        id: Uuid,
        requeue: bool,
    ) -> BoxFuture<'_, Result<LetterRemoval, Fault>> {
        let removal = async move {
            match requeue {
                true => self.letters.requeue(scope, id).await,
                false => self.letters.discard(scope, id).await,
            }
        };
        removal.map(|removal| removal.map_err(unavailable("removing a dead letter"))).boxed()
    }

    fn processes(&self) -> BoxFuture<'_, Result<Vec<ProcessStatus>, Fault>> {
        self.read_processes().map(|found| found.map_err(unavailable("reading the positions of policies"))).boxed()
    }

    fn breakers(&self, scope: Option<TenantId>) -> BoxFuture<'_, Result<Vec<BreakerState>, Fault>> {
        self.read_breakers(scope).map(|found| found.map_err(unavailable("reading circuit breakers"))).boxed()
    }
}

fn unavailable(doing: &'static str) -> impl Fn(sqlx::Error) -> Fault {
    move |error| Fault::caused(Cause::Unavailable, doing, error)
}
