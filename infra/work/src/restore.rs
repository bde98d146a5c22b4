//! Rewind of policies after the log was restored to an earlier moment.
//!
//! A lane gets a new epoch with every ownership. `work.epochs` lists the epochs that the policies know. A new epoch
//! begins after all positions of policies, unless the log was restored: then the events from its first position on are
//! lost, and other events are or will be written in their place. Policies return to the last position before the new
//! epoch, which both histories have in common.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use commands::scribe::LaneId;
use sqlx::PgConnection;

use crate::pause::pause_work;

/// The last position of a lane before the first epoch that is new to the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestorePoint {
    pub lane: LaneId,
    pub position: i64,
}

impl RestorePoint {
    /// The lanes and the positions of points as two columns, for `unnest`.
    pub fn columns(points: &[Self]) -> (Vec<i16>, Vec<i64>) {
        points.iter().map(|point| (point.lane.0, point.position)).unzip()
    }
}

/// A component that stores positions in the log of its own, and is rewound together with the policies. Its statements
/// run in the transaction of that rewind.
#[async_trait]
pub trait RestoreHook: Send + Sync {
    /// Policies that start again from the beginning of a rewound lane, to recreate state of the component that depends
    /// on all events.
    fn replayed_policies(&self) -> &'static [&'static str] {
        &[]
    }

    /// The lanes in which the component is ahead of the restore point.
    async fn lanes_ahead(
        &self,
        connection: &mut PgConnection,
        points: &[RestorePoint],
    ) -> Result<BTreeSet<LaneId>, sqlx::Error>;

    /// Rewinds the component to these points, also in lanes in which only others are ahead.
    async fn rewind(&self, connection: &mut PgConnection, points: &[RestorePoint]) -> Result<(), sqlx::Error>;
}

/// Records new epochs. If the log was restored, rewinds policies and hooks to its restore points and pauses timers,
/// effects and webhooks.
pub(crate) async fn rewind_restored_lanes(
    connection: &mut PgConnection,
    hooks: &[Arc<dyn RestoreHook>],
) -> Result<(), sqlx::Error> {
    let points = record_epochs(connection).await?;
    if points.is_empty() {
        return Ok(());
    }
    let mut ahead = policies_ahead(connection, &points).await?;
    for hook in hooks {
        ahead.extend(hook.lanes_ahead(connection, &points).await?);
    }
    let restored: Vec<RestorePoint> = points.into_iter().filter(|point| ahead.contains(&point.lane)).collect();
    if restored.is_empty() {
        return Ok(());
    }
    for RestorePoint { lane, position } in &restored {
        tracing::warn!(lane = lane.0, position, "the log was restored to an earlier moment; policies return to it");
    }
    let replayed = hooks.iter().flat_map(|hook| hook.replayed_policies()).copied().collect();
    rewind_policies(connection, &restored, replayed).await?;
    for hook in hooks {
        hook.rewind(connection, &restored).await?;
    }
    pause_work(connection, "the log was restored to an earlier moment").await
}

/// Records the epochs that are new to the policies. Returns a restore point for each lane with such an epoch. Forgets
/// those that the log has forgotten, because they wrote no event or were lost in a restore.
async fn record_epochs(connection: &mut PgConnection) -> Result<Vec<RestorePoint>, sqlx::Error> {
    let text = "DELETE FROM work.epochs k
                WHERE NOT EXISTS (SELECT FROM log.epochs e WHERE e.lane = k.lane AND e.epoch = k.epoch)";
    sqlx::query(text).execute(&mut *connection).await?;
    let text = "
        WITH unknown AS (
            INSERT INTO work.epochs
            SELECT e.lane, e.epoch FROM log.epochs e
            WHERE NOT EXISTS (SELECT FROM work.epochs k WHERE k.lane = e.lane AND k.epoch = e.epoch)
            ON CONFLICT DO NOTHING RETURNING lane, epoch
        )
        SELECT e.lane, min(e.first_position) - 1
        FROM unknown u JOIN log.epochs e ON e.lane = u.lane AND e.epoch = u.epoch GROUP BY e.lane";
    let rows: Vec<(i16, i64)> = sqlx::query_as(text).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(lane, position)| RestorePoint { lane: LaneId(lane), position }).collect())
}

async fn policies_ahead(
    connection: &mut PgConnection,
    points: &[RestorePoint],
) -> Result<BTreeSet<LaneId>, sqlx::Error> {
    let text = "SELECT DISTINCT p.lane FROM unnest($1::smallint[], $2::bigint[]) AS point(lane, position)
                JOIN work.policies p ON p.lane = point.lane AND p.position > point.position";
    let (lanes, positions) = RestorePoint::columns(points);
    let ahead: Vec<i16> = sqlx::query_scalar(text).bind(lanes).bind(positions).fetch_all(connection).await?;
    Ok(ahead.into_iter().map(LaneId).collect())
}

async fn rewind_policies(
    connection: &mut PgConnection,
    points: &[RestorePoint],
    replayed: Vec<&str>,
) -> Result<(), sqlx::Error> {
    let text = "UPDATE work.policies p
                SET position = CASE WHEN p.policy = ANY($3) THEN 0 ELSE least(p.position, point.position) END
                FROM unnest($1::smallint[], $2::bigint[]) AS point(lane, position)
                WHERE p.lane = point.lane AND (p.position > point.position OR p.policy = ANY($3))";
    let (lanes, positions) = RestorePoint::columns(points);
    sqlx::query(text).bind(&lanes).bind(&positions).bind(&replayed).execute(&mut *connection).await?;
    // The events at which these streams were parked are lost, or are read again.
    let text = "DELETE FROM work.parked p USING unnest($1::smallint[], $2::bigint[]) AS point(lane, position)
                WHERE p.lane = point.lane AND (p.position > point.position OR p.policy = ANY($3))";
    sqlx::query(text).bind(lanes).bind(positions).bind(replayed).execute(connection).await.map(|_| ())
}
