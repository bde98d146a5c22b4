//! Taking lanes over. Whoever writes a fresh epoch owns the lane; the old owner's batches no longer pass the fence.

use std::time::Duration;

use commands::scribe::{LaneId, TakeOverOutcome};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::time::timeout;

use platform::clock::Timestamptz;
use platform::connectivity::silence;

/// How long a lane may take to be taken over before that is tried anew.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

/// Who writes lanes.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The same after every restart of this process, so that it need not wait for its own lease.
    pub name: String,
    /// How long others leave a lane alone after its owner was last heard of. Speed depends on it, safety does not.
    pub lease_ms: i64,
    /// Where it takes commands from other processes, as `host:port`; empty where it takes none.
    pub address: String,
}

/// Takes a lane over, unless somebody else writes it and is alive. Waits for a batch that is being committed.
pub(super) async fn take_over(pool: &PgPool, owner: &Owner, lane: LaneId) -> TakeOverOutcome {
    let tried = async {
        let mut transaction = pool.begin().await?;
        let outcome = claim(&mut transaction, owner, lane).await?;
        transaction.commit().await?;
        Ok::<_, anyhow::Error>(outcome)
    };
    // Its place may be behind a batch that is being committed, which the server gives up after half a minute.
    match timeout(TAKEN_WITHIN, tried).await.unwrap_or_else(|_| Err(silence().into())) {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::warn!(lane = lane.0, %error, "the lane cannot be taken over now");
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
    // Read only now: the row is ours, so no older batch can come after this.
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
