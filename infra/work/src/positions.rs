//! How far each policy has come, and how it finds back when the log was restored to an earlier moment.

use std::collections::{BTreeMap, BTreeSet};

use commands::integrations::KeepCursorsOfWebhooks;
use commands::kernel::{Policy, PolicyDescriptor, Start};
use commands::scribe::LaneId;
use projections::ports::{Epochs, RawEvent};
use sqlx::{PgConnection, PgPool};

use super::hold::hold_back;
use platform::clock::{Timestamptz, now};

/// The last event that each policy has reacted to, in the lanes that this process follows.
#[derive(Default)]
pub(super) struct Positions {
    lanes: BTreeMap<LaneId, Lane>,
    /// What it followed when this was read; nothing where it never was.
    held: Option<BTreeSet<LaneId>>,
}

struct Lane {
    /// Of whoever wrote the lane when it was read how far policies had come.
    epoch: i64,
    /// Its histories at that time.
    epochs: Epochs,
    at: BTreeMap<&'static str, i64>,
}

/// One policy gets further in one lane.
pub(super) struct Move {
    pub(super) policy: &'static str,
    pub(super) lane: LaneId,
    pub(super) from: i64,
    pub(super) to: i64,
}

impl Positions {
    /// Reads where every policy stands. A new one begins where it says that it does; that is written down at once, or a
    /// crash before its first event would introduce it again, later.
    pub(super) async fn read(
        pool: &PgPool,
        policies: &[PolicyDescriptor],
        held: BTreeSet<LaneId>,
    ) -> Result<Self, sqlx::Error> {
        // Epochs first: who takes a lane over after this is noticed by them.
        let mut lanes = read_lanes(pool, &held).await?;
        let mut transaction = pool.begin().await?;
        find_back(&mut transaction).await?;
        introduce(&mut transaction, policies).await?;
        let rows: Vec<(String, i16, i64)> =
            sqlx::query_as("SELECT policy, lane, position FROM work.policies").fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        for (id, lane, position) in rows {
            let policy = policies.iter().find(|policy| policy.id == id);
            if let (Some(policy), Some(lane)) = (policy, lanes.get_mut(&LaneId(lane))) {
                lane.at.insert(policy.id, position);
            }
        }
        Ok(Self { lanes, held: Some(held) })
    }

    /// One policy stands at this position of one lane, which the last of these wrote from its first position on.
    #[cfg(test)]
    pub(super) fn at(lane: LaneId, position: i64, epochs: Vec<(i64, i64)>) -> Self {
        let epoch = epochs.last().map_or(0, |(epoch, _)| *epoch);
        let known = Lane { epoch, epochs: Epochs::new(epochs), at: BTreeMap::from([("policy", position)]) };
        Self { lanes: BTreeMap::from([(lane, known)]), held: Some(BTreeSet::from([lane])) }
    }

    /// The lanes that they are of.
    pub(super) fn held(&self) -> BTreeSet<LaneId> {
        self.held.clone().unwrap_or_default()
    }

    /// Whether these are the positions of exactly these lanes.
    pub(super) fn are_of(&self, held: &BTreeSet<LaneId>) -> bool {
        self.held.as_ref() == Some(held)
    }

    /// Whether all lanes are still written by whoever wrote them when it was read how far policies had come.
    pub(super) async fn are_current(&self, pool: &PgPool) -> Result<bool, sqlx::Error> {
        let now: Vec<(i16, i64)> = sqlx::query_as("SELECT lane, epoch FROM log.lanes").fetch_all(pool).await?;
        let mut ours = now.into_iter().filter(|(lane, _)| self.lanes.contains_key(&LaneId(*lane)));
        Ok(ours.all(|(lane, epoch)| self.know(LaneId(lane), epoch)))
    }

    /// From where a lane must be read, so that no policy misses anything; nothing where it is not followed.
    pub(super) fn after(&self, lane: LaneId) -> Option<i64> {
        self.lanes.get(&lane)?.at.values().min().copied()
    }

    /// Whether an event stands at its place in today's log, and not only in a history that was lost.
    pub(super) fn agree(&self, event: &RawEvent) -> bool {
        let lane = self.lanes.get(&LaneId(event.lane));
        lane.is_some_and(|lane| lane.epochs.agrees(event.position, event.epoch))
    }

    /// Whether a lane is still written by whoever wrote it when it was read how far policies had come.
    pub(super) fn know(&self, lane: LaneId, epoch: i64) -> bool {
        self.lanes.get(&lane).is_some_and(|known| known.epoch == epoch)
    }

    pub(super) fn get(&self, lane: LaneId, policy: &str) -> i64 {
        self.lanes.get(&lane).and_then(|lane| lane.at.get(policy)).copied().unwrap_or(0)
    }

    /// What it takes to bring every policy to this position of a lane.
    pub(super) fn moves(&self, lane: LaneId, to: i64) -> impl Iterator<Item = Move> {
        let at = self.lanes.get(&lane).into_iter().flat_map(|lane| &lane.at);
        at.filter(move |(_, from)| **from < to).map(move |(policy, from)| Move { policy, lane, from: *from, to })
    }

    pub(super) fn take(&mut self, moves: &[Move]) {
        for step in moves {
            if let Some(lane) = self.lanes.get_mut(&step.lane) {
                lane.at.insert(step.policy, step.to);
            }
        }
    }
}

/// Who writes these lanes, and their histories.
async fn read_lanes(pool: &PgPool, held: &BTreeSet<LaneId>) -> Result<BTreeMap<LaneId, Lane>, sqlx::Error> {
    let text = "SELECT l.lane, l.epoch,
                       array(SELECT e.epoch FROM log.epochs e WHERE e.lane = l.lane ORDER BY e.since),
                       array(SELECT e.first_position FROM log.epochs e WHERE e.lane = l.lane ORDER BY e.since)
                FROM log.lanes l WHERE l.lane = ANY($1)";
    let numbers: Vec<i16> = held.iter().map(|lane| lane.0).collect();
    let rows: Vec<(i16, i64, Vec<i64>, Vec<i64>)> = sqlx::query_as(text).bind(numbers).fetch_all(pool).await?;
    let lane = |(lane, epoch, begun, first): (i16, i64, Vec<i64>, Vec<i64>)| {
        let epochs = Epochs::new(begun.into_iter().zip(first).collect());
        (LaneId(lane), Lane { epoch, epochs, at: BTreeMap::new() })
    };
    Ok(rows.into_iter().map(lane).collect())
}

/// A history that nobody here knows of begins beyond all positions, unless the log was restored to an earlier moment:
/// what policies saw and webhooks told from there on is lost, and something else was or will be written in its place.
/// What was lost may have paused or ended a webhook; so every cursor is looked at again, and those that are gone are made
/// again by the policy that keeps them, from the beginning.
async fn find_back(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let text = "
        WITH unknown AS (
            INSERT INTO work.epochs
            SELECT e.lane, e.epoch FROM log.epochs e
            WHERE NOT EXISTS (SELECT FROM work.epochs k WHERE k.lane = e.lane AND k.epoch = e.epoch)
            ON CONFLICT DO NOTHING RETURNING lane, epoch
        ), common AS (
            SELECT e.lane, min(e.first_position) - 1 AS position
            FROM unknown u JOIN log.epochs e ON e.lane = u.lane AND e.epoch = u.epoch GROUP BY e.lane
        ), told AS (
            SELECT c.lane, w.subscription, w.replay,
                   coalesce((SELECT max(e.tenant_position) FROM log.events e
                             WHERE e.lane = c.lane AND e.tenant = w.tenant AND e.position <= c.position), 0) AS position
            FROM common c JOIN log.routes r ON r.lane = c.lane JOIN work.webhook_cursors w ON w.tenant = r.tenant
        ), behind AS (
            SELECT c.lane, c.position FROM common c
            WHERE EXISTS (SELECT FROM work.policies p WHERE p.lane = c.lane AND p.position > c.position)
               OR EXISTS (SELECT FROM told t JOIN work.webhook_cursors w USING (subscription, replay)
                          WHERE t.lane = c.lane AND greatest(w.position, w.ordered) > t.position)
        ), webhooks AS (
            UPDATE work.webhook_cursors w
            SET position = least(w.position, told.position), attempts = 0, turn = w.turn + 1,
                mended = least(w.mended, told.position),
                due_at = CASE WHEN w.position >= w.upto THEN w.due_at ELSE $1 END,
                upto = CASE WHEN w.replay THEN least(w.upto, told.position) END,
                ordered = CASE WHEN w.replay THEN least(w.ordered, told.position) END
            FROM told JOIN behind USING (lane)
            WHERE told.subscription = w.subscription AND told.replay = w.replay
        )
        UPDATE work.policies p SET position = CASE WHEN p.policy = $2 THEN 0 ELSE least(p.position, b.position) END
        FROM behind b WHERE b.lane = p.lane AND (p.position > b.position OR p.policy = $2)
        RETURNING b.lane, b.position";
    let query = sqlx::query_as::<_, (i16, i64)>(text).bind(Timestamptz(now())).bind(KeepCursorsOfWebhooks::ID);
    let back: BTreeSet<_> = query.fetch_all(&mut *connection).await?.into_iter().collect();
    for (lane, position) in &back {
        tracing::warn!(lane, position, "the log was restored to an earlier moment; policies go back to it");
    }
    if !back.is_empty() {
        hold_back(connection, "the log was restored to an earlier moment").await?;
    }
    Ok(())
}

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
