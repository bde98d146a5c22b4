//! Take-over of lanes. The process that writes a new epoch owns the lane; from then on the fence refuses the batches of
//! the previous owner.

use std::time::Duration;

use commands::scribe::{LaneId, TakeOverOutcome};
use platform::clock::Timestamptz;
use platform::connectivity::timeout_error;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::time::timeout;

use super::settings::Owner;

/// Time limit of one attempt. An attempt waits while a batch that is being committed locks the lane; the server cancels
/// such a batch after 30 seconds.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes a lane over, unless another process holds an unexpired lease. Waits for a batch that is being committed.
pub(super) async fn take_over(pool: &PgPool, owner: &Owner, lane: LaneId) -> TakeOverOutcome {
    let attempt = async {
        let mut transaction = pool.begin().await?;
        let outcome = claim(&mut transaction, owner, lane).await?;
        transaction.commit().await?;
        Ok::<_, anyhow::Error>(outcome)
    };
    match timeout(TAKE_OVER_TIMEOUT, attempt).await.unwrap_or_else(|_| Err(timeout_error().into())) {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(lane = lane.0, %error, "the lane cannot be taken over now; trying again");
            TakeOverOutcome::Unavailable
        }
    }
}

async fn claim(
    transaction: &mut Transaction<'_, Postgres>,
    owner: &Owner,
    lane: LaneId,
) -> Result<TakeOverOutcome, anyhow::Error> {
    let mut random = [0; 8];
    getrandom::fill(&mut random)?;
    let epoch = i64::from_le_bytes(random);
    sqlx::query("SET LOCAL synchronous_commit = on").execute(&mut **transaction).await?;
    let claimed = sqlx::query(
        "UPDATE log.lanes
         SET epoch = $2, owner = $3, lease = clock_timestamp() + $4 * interval '1 millisecond', address = $5
         WHERE lane = $1 AND (owner = $3 OR lease < clock_timestamp())",
    )
    .bind(lane.0)
    .bind(epoch)
    .bind(&owner.name)
    .bind(owner.lease_ms)
    .bind(&owner.address)
    .execute(&mut **transaction)
    .await?;
    if claimed.rows_affected() == 0 {
        return Ok(TakeOverOutcome::Elsewhere);
    }
    // Read after the update: the row lock keeps batches of older epochs from committing after this.
    let last: Option<(i64, Timestamptz)> =
        sqlx::query_as("SELECT position, recorded_at FROM log.events WHERE lane = $1 ORDER BY position DESC LIMIT 1")
            .bind(lane.0)
            .fetch_optional(&mut **transaction)
            .await?;
    let (position, recorded_at) = last.map_or((0, Default::default()), |(position, at)| (position, at.0));
    sqlx::query("INSERT INTO log.epochs VALUES ($1, $2, $3, clock_timestamp())")
        .bind(lane.0)
        .bind(epoch)
        .bind(position.saturating_add(1))
        .execute(&mut **transaction)
        .await?;
    Ok(TakeOverOutcome::Owned { epoch, position, recorded_at })
}
