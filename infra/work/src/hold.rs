//! Holding timers and effects back: after a restore, the world outside may have seen what the log does not know of.

use domain::shared::Timestamp;
use sqlx::{PgConnection, PgPool};

use platform::clock::{Timestamptz, now};

/// Why timers do not fire and effects are not carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold {
    pub since: Timestamp,
    pub reason: String,
}

/// Holds timers and effects back until they are released. Policies go on; what they ask for waits.
pub async fn hold_back(connection: &mut PgConnection, reason: &str) -> Result<(), sqlx::Error> {
    let text = "INSERT INTO work.hold (reason) VALUES ($1) ON CONFLICT DO NOTHING";
    sqlx::query(text).bind(reason).execute(connection).await.map(|_| ())
}

/// Whether they are held back.
pub async fn held_back(pool: &PgPool) -> Result<Option<Hold>, sqlx::Error> {
    let row: Option<(Timestamptz, String)> =
        sqlx::query_as("SELECT since, reason FROM work.hold").fetch_optional(pool).await?;
    Ok(row.map(|(since, reason)| Hold { since: since.0, reason }))
}

/// Lets them go on. No effect is given up for the time that it was held back.
pub async fn release(pool: &PgPool) -> Result<(), sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let text = "WITH held AS (DELETE FROM work.hold RETURNING since)
                UPDATE work.effects e SET asked_at = e.asked_at + ($1 - greatest(held.since, e.asked_at)) FROM held
                WHERE e.asked_at < $1";
    sqlx::query(text).bind(Timestamptz(now())).execute(&mut *transaction).await?;
    transaction.commit().await
}
