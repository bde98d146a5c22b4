//! Pause of timers, effects and webhooks, as after a restore: partners may have seen events that the log has lost.

use domain::shared::Timestamp;
use platform::clock::{Timestamptz, now};
use sqlx::{PgConnection, PgPool};

/// The pause in force: its beginning and its reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Pause {
    pub since: Timestamp,
    pub reason: String,
}

/// Pauses timers, effects and webhooks until they are resumed. Policies continue; the timers and effects that they ask
/// for are stored.
pub async fn pause_work(connection: &mut PgConnection, reason: &str) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO work.hold (reason) VALUES ($1) ON CONFLICT DO NOTHING";
    sqlx::query(text).bind(reason).execute(connection).await.map(|_| ())
}

/// The pause in force, if there is one.
pub async fn current_pause(pool: &PgPool) -> Result<Option<Pause>, sqlx::Error> {
    let row: Option<(Timestamptz, String)> =
        sqlx::query_as("SELECT since, reason FROM work.hold").fetch_optional(pool).await?;
    Ok(row.map(|(since, reason)| Pause { since: since.0, reason }))
}

/// Ends the pause. Its duration does not count towards the maximum age of effects.
pub async fn resume_work(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let text = "WITH held AS (DELETE FROM work.hold RETURNING since)
                UPDATE work.effects e SET asked_at = e.asked_at + ($1 - greatest(held.since, e.asked_at)) FROM held
                WHERE e.asked_at < $1";
    sqlx::query(text).bind(Timestamptz(now())).execute(&mut *transaction).await?;
    transaction.commit().await
}
