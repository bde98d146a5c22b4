//! Changes of the database of a stopped engine: a restore of the log to an earlier position, and older times.

use anyhow::Result;
use platform::clock::new_id;
use sqlx::{PgConnection, PgPool};

use super::{Backend, Shop};

/// Restores the log of a lane to a position, as from a backup. Checkpoints of read models and positions of policies are
/// not changed.
pub async fn restore_lane(pool: &PgPool, lane: i16, position: i64) -> Result<()> {
    restore_lane_on(&mut *pool.acquire().await?, lane, position).await
}

/// The same on a connection, such as within a transaction.
pub async fn restore_lane_on(connection: &mut PgConnection, lane: i16, position: i64) -> Result<()> {
    let when = "(SELECT coalesce(max(recorded_at), '-infinity') FROM log.events WHERE lane = $1 AND position <= $2)";
    for text in [
        format!("DELETE FROM log.receipts WHERE lane = $1 AND recorded_at > {when}"),
        "DELETE FROM log.snapshots WHERE lane = $1 AND $2 >= 0".into(),
        "DELETE FROM log.epochs WHERE lane = $1 AND first_position > $2".into(),
        "DELETE FROM log.events WHERE lane = $1 AND position > $2".into(),
        "UPDATE log.lanes l SET epoch = coalesce((SELECT e.epoch FROM log.epochs e
             WHERE e.lane = l.lane ORDER BY e.since DESC LIMIT 1), 0) WHERE lane = $1 AND $2 >= 0"
            .into(),
    ] {
        sqlx::query(&text).bind(lane).bind(position).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Last position of a lane; 0 where it is empty.
pub async fn lane_head(pool: &PgPool, lane: i16) -> Result<i64> {
    let text = "SELECT coalesce(max(position), 0) FROM log.events WHERE lane = $1";
    Ok(sqlx::query_scalar(text).bind(lane).fetch_one(pool).await?)
}

/// Number of checkpoints of read models at which the log has another event or none.
pub async fn orphaned_checkpoints(pool: &PgPool) -> Result<i64> {
    let text = "SELECT count(*) FROM reads.checkpoints c JOIN reads.live v USING (model, shape)
                LEFT JOIN log.events e ON e.lane = c.lane AND e.position = c.position
                WHERE c.position > 0 AND c.epoch IS DISTINCT FROM e.epoch";
    Ok(sqlx::query_scalar(text).fetch_one(pool).await?)
}

/// Places this many orders of one unit each.
pub async fn place_orders(backend: &Backend, shop: &Shop, orders: i64) -> Result<()> {
    for _ in 0..orders {
        backend.execute(shop.tenant, "PlaceOrder", &shop.order(new_id(), new_id())).await?;
    }
    Ok(())
}

/// Moves all times of the log and of timers this many seconds into the past, instead of waiting.
pub async fn age_by(pool: &PgPool, seconds: i64) -> Result<()> {
    let older = |json: &str| {
        format!(
            "CASE WHEN {json}->>'until' IS NULL THEN {json} ELSE jsonb_set({json}::jsonb, '{{until}}', to_jsonb(
                 to_char((({json}->>'until')::timestamptz - $1 * interval '1 second') AT TIME ZONE 'UTC',
                         'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')))::json END"
        )
    };
    for text in [
        format!(
            "UPDATE log.events SET payload = {}, occurred_at = occurred_at - $1 * interval '1 second',
                    recorded_at = recorded_at - $1 * interval '1 second'",
            older("payload")
        ),
        // Snapshots contain times too. Without them, states are folded from the events.
        "DELETE FROM log.snapshots WHERE $1 > 0".into(),
        "UPDATE log.receipts SET recorded_at = recorded_at - $1 * interval '1 second'".into(),
        "UPDATE log.epochs SET since = since - $1 * interval '1 second'".into(),
        "UPDATE work.queues SET due_at = due_at - $1 * interval '1 second'".into(),
        format!("UPDATE work.timers SET body = {}, due_at = due_at - $1 * interval '1 second'", older("body")),
    ] {
        sqlx::query(&text).bind(seconds).execute(pool).await?;
    }
    Ok(())
}

/// Number of timers that have not fired.
pub async fn pending_timers(pool: &PgPool) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM work.timers").fetch_one(pool).await?)
}
