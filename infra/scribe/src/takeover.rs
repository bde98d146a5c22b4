//! Take-over of lanes. The process that writes a new epoch owns the lane; from then on the fence refuses the batches of
//! the previous owner.

use std::time::Duration;

use commands::scribe::{LaneId, TakeOverOutcome};
use platform::clock::Timestamptz;
use platform::clock_monitor::ClockMonitor;
use platform::connectivity::timeout_error;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::time::timeout;

use super::settings::Owner;

/// Time limit of one attempt. While a batch that is being committed locks the lane, attempts run into this limit and
/// are repeated. The server cancels such a batch after 30 seconds, so that a later attempt gets the lock.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes a lane over, unless another process holds an unexpired lease or the clock is off. Waits for a batch that is
/// being committed.
pub(super) async fn take_over(pool: &PgPool, owner: &Owner, clock: &ClockMonitor, lane: LaneId) -> TakeOverOutcome {
    let attempt = async {
        let mut transaction = pool.begin().await?;
        if !clock.compare(&mut transaction).await? {
            return Ok(TakeOverOutcome::ClockOff(clock.problem().unwrap_or_default()));
        }
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
    let claimed: Option<Timestamptz> = sqlx::query_scalar(
        "UPDATE log.lanes
         SET epoch = $2, owner = $3, lease = clock_timestamp() + $4 * interval '1 millisecond', address = $5
         WHERE lane = $1 AND (owner = $3 OR lease < clock_timestamp()) RETURNING clock_timestamp()",
    )
    .bind(lane.0)
    .bind(epoch)
    .bind(&owner.name)
    .bind(owner.lease_ms)
    .bind(&owner.address)
    .fetch_optional(&mut **transaction)
    .await?;
    let Some(Timestamptz(store_time)) = claimed else { return Ok(TakeOverOutcome::Elsewhere) };
    // Read after the update: the row lock keeps batches of older epochs from committing after this.
    let text = "SELECT position, epoch, recorded_at FROM log.events WHERE lane = $1 ORDER BY position DESC LIMIT 1";
    let last: Option<(i64, i64, Timestamptz)> =
        sqlx::query_as(text).bind(lane.0).fetch_optional(&mut **transaction).await?;
    let (position, event_epoch, Timestamptz(recorded_at)) = last.unwrap_or((0, epoch, Timestamptz(Default::default())));
    begin_epoch(transaction, lane, epoch, position.saturating_add(1)).await?;
    Ok(TakeOverOutcome::Owned { epoch, position, recorded_at, event_epoch, store_time })
}

/// Records the new epoch. Deletes those before it that wrote no event: take-overs alone must not make the table grow.
async fn begin_epoch(
    transaction: &mut Transaction<'_, Postgres>,
    lane: LaneId,
    epoch: i64,
    first_position: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM log.epochs WHERE lane = $1 AND first_position >= $2 AND removable")
        .bind(lane.0)
        .bind(first_position)
        .execute(&mut **transaction)
        .await?;
    let text = "INSERT INTO log.epochs (lane, epoch, first_position, since, removable)
                VALUES ($1, $2, $3, clock_timestamp(), true)";
    let inserted = sqlx::query(text).bind(lane.0).bind(epoch).bind(first_position);
    inserted.execute(&mut **transaction).await.map(|_| ())
}
