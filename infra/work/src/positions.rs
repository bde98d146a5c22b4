//! Positions of policies in the lanes that this process follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use commands::kernel::{PolicyDescriptor, Start};
use commands::scribe::LaneId;
use projections::ports::{Epochs, RawEvent};
use sqlx::{PgConnection, PgPool};

use crate::parked_streams::{ParkedAt, ParkedChange, PolicyStream, read_parked};
use crate::restore::{RestoreHook, rewind_restored_lanes};

/// Position of the last event that each policy has reacted to, by lane.
#[derive(Default)]
pub(crate) struct Positions {
    lanes: BTreeMap<LaneId, LanePositions>,
    /// The lanes for which the positions were read; `None` before the first read.
    read_for: Option<BTreeSet<LaneId>>,
}

struct LanePositions {
    /// Epoch of the lane when the positions were read.
    epoch: i64,
    /// All epochs of the lane at that time.
    epochs: Epochs,
    by_policy: BTreeMap<&'static str, i64>,
    /// Streams in which a policy waits at an event that it cannot read.
    parked: BTreeMap<PolicyStream, ParkedAt>,
}

/// A step forward of one policy in one lane.
pub(crate) struct PositionMove {
    pub(crate) policy: &'static str,
    pub(crate) lane: LaneId,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Positions {
    /// Reads the positions of all policies in these lanes, after the rewind of restored lanes. A new policy gets its
    /// first position now: if it got one only after its first events, a crash before would let it begin later.
    pub(crate) async fn read(
        pool: &PgPool,
        policies: &[PolicyDescriptor],
        hooks: &[Arc<dyn RestoreHook>],
        lanes_to_follow: BTreeSet<LaneId>,
    ) -> Result<Self, sqlx::Error> {
        // The epochs are read first, so that a later take-over of a lane is noticed as a change of its epoch.
        let mut lanes = read_lanes(pool, &lanes_to_follow).await?;
        let mut transaction = pool.begin().await?;
        rewind_restored_lanes(&mut transaction, hooks).await?;
        introduce(&mut transaction, policies).await?;
        let rows: Vec<(String, i16, i64)> =
            sqlx::query_as("SELECT policy, lane, position FROM work.policies").fetch_all(&mut *transaction).await?;
        let parked = read_parked(&mut transaction, policies).await?;
        transaction.commit().await?;
        for (stream, at) in parked {
            if let Some(lane) = lanes.get_mut(&stream.lane) {
                lane.parked.insert(stream, at);
            }
        }
        for (id, lane, position) in rows {
            let policy = policies.iter().find(|policy| policy.id == id);
            if let (Some(policy), Some(lane)) = (policy, lanes.get_mut(&LaneId(lane))) {
                lane.by_policy.insert(policy.id, position);
            }
        }
        Ok(Self { lanes, read_for: Some(lanes_to_follow) })
    }

    /// Positions with one policy in one lane of these epochs and their first positions; the last epoch is current.
    #[cfg(test)]
    pub(crate) fn with_one(lane: LaneId, position: i64, epochs: Vec<(i64, i64)>) -> Self {
        let epoch = epochs.last().map_or(0, |(epoch, _)| *epoch);
        let by_policy = BTreeMap::from([("policy", position)]);
        let positions = LanePositions { epoch, epochs: Epochs::new(epochs), by_policy, parked: BTreeMap::new() };
        Self { lanes: BTreeMap::from([(lane, positions)]), read_for: Some(BTreeSet::from([lane])) }
    }

    /// The lanes for which the positions were read.
    pub(crate) fn followed_lanes(&self) -> BTreeSet<LaneId> {
        self.read_for.clone().unwrap_or_default()
    }

    /// True if the positions were read for exactly these lanes.
    pub(crate) fn are_for(&self, lanes: &BTreeSet<LaneId>) -> bool {
        self.read_for.as_ref() == Some(lanes)
    }

    /// Checks in the database that no lane has another epoch than when the positions were read.
    pub(crate) async fn are_current(&self, pool: &PgPool) -> Result<bool, sqlx::Error> {
        let now: Vec<(i16, i64)> = sqlx::query_as("SELECT lane, epoch FROM log.lanes").fetch_all(pool).await?;
        let mut ours = now.into_iter().filter(|(lane, _)| self.lanes.contains_key(&LaneId(*lane)));
        Ok(ours.all(|(lane, epoch)| self.is_current_epoch(LaneId(lane), epoch)))
    }

    /// The position after which a lane must be read so that no policy misses an event; `None` if the lane is not
    /// followed.
    pub(crate) fn after(&self, lane: LaneId) -> Option<i64> {
        self.lanes.get(&lane)?.by_policy.values().min().copied()
    }

    /// True if an event belongs to the history that its lane had when the positions were read, and not to one that a
    /// restore has replaced.
    pub(crate) fn agree_with(&self, event: &RawEvent) -> bool {
        let lane = self.lanes.get(&LaneId(event.lane));
        lane.is_some_and(|lane| lane.epochs.agrees(event.position, event.epoch))
    }

    /// True if a lane had this epoch when the positions were read.
    pub(crate) fn is_current_epoch(&self, lane: LaneId, epoch: i64) -> bool {
        self.lanes.get(&lane).is_some_and(|known| known.epoch == epoch)
    }

    /// The position of a policy in a lane; 0 if it has none.
    pub(crate) fn get(&self, lane: LaneId, policy: &str) -> i64 {
        self.lanes.get(&lane).and_then(|lane| lane.by_policy.get(policy)).copied().unwrap_or(0)
    }

    /// The moves of all policies that are behind a position of a lane, to that position.
    pub(crate) fn moves(&self, lane: LaneId, to: i64) -> impl Iterator<Item = PositionMove> {
        let positions = self.lanes.get(&lane).into_iter().flat_map(|lane| &lane.by_policy);
        let behind = positions.filter(move |(_, from)| **from < to);
        behind.map(move |(policy, from)| PositionMove { policy, lane, from: *from, to })
    }

    /// Parked streams of all lanes that are followed.
    pub(crate) fn parked(&self) -> impl Iterator<Item = (&PolicyStream, &ParkedAt)> {
        self.lanes.values().flat_map(|lane| &lane.parked)
    }

    /// Parked streams of one lane.
    pub(crate) fn parked_in(&self, lane: LaneId) -> Option<&BTreeMap<PolicyStream, ParkedAt>> {
        self.lanes.get(&lane).map(|lane| &lane.parked).filter(|parked| !parked.is_empty())
    }

    /// Applies changes that were written to the database.
    pub(crate) fn apply(&mut self, moves: &[PositionMove], parked: Vec<ParkedChange>) {
        for ParkedChange { stream, to, .. } in parked {
            let Some(lane) = self.lanes.get_mut(&stream.lane) else { continue };
            match to {
                Some(at) => _ = lane.parked.insert(stream, at),
                None => _ = lane.parked.remove(&stream),
            }
        }
        for step in moves {
            if let Some(lane) = self.lanes.get_mut(&step.lane) {
                lane.by_policy.insert(step.policy, step.to);
            }
        }
    }
}

/// Reads the epochs of these lanes.
async fn read_lanes(
    pool: &PgPool,
    followed: &BTreeSet<LaneId>,
) -> Result<BTreeMap<LaneId, LanePositions>, sqlx::Error> {
    let text = "SELECT l.lane, l.epoch,
                       array(SELECT e.epoch FROM log.epochs e WHERE e.lane = l.lane ORDER BY e.since),
                       array(SELECT e.first_position FROM log.epochs e WHERE e.lane = l.lane ORDER BY e.since)
                FROM log.lanes l WHERE l.lane = ANY($1)";
    let numbers: Vec<i16> = followed.iter().map(|lane| lane.0).collect();
    let rows: Vec<(i16, i64, Vec<i64>, Vec<i64>)> = sqlx::query_as(text).bind(numbers).fetch_all(pool).await?;
    let lane = |(lane, epoch, numbers, firsts): (i16, i64, Vec<i64>, Vec<i64>)| {
        let epochs = Epochs::new(numbers.into_iter().zip(firsts).collect());
        (LaneId(lane), LanePositions { epoch, epochs, by_policy: BTreeMap::new(), parked: BTreeMap::new() })
    };
    Ok(rows.into_iter().map(lane).collect())
}

/// Adds rows for policies that are new to a lane, at the position where they begin.
async fn introduce(connection: &mut PgConnection, policies: &[PolicyDescriptor]) -> Result<(), sqlx::Error> {
    let text = "
        INSERT INTO work.policies
        SELECT p.policy, l.lane, CASE WHEN p.from_beginning THEN 0 ELSE coalesce(
                   (SELECT max(e.position) FROM log.events e WHERE e.lane = l.lane), 0) END
        FROM unnest($1::text[], $2::boolean[]) AS p(policy, from_beginning) CROSS JOIN log.lanes l
        WHERE NOT EXISTS (SELECT FROM work.policies k WHERE k.policy = p.policy AND k.lane = l.lane)
        ON CONFLICT DO NOTHING";
    let (ids, from_beginning): (Vec<_>, Vec<_>) =
        policies.iter().map(|policy| (policy.id, policy.start == Start::Beginning)).unzip();
    sqlx::query(text).bind(ids).bind(from_beginning).execute(connection).await.map(|_| ())
}
