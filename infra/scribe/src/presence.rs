//! Presence: the processes of a role announce themselves in a table, and the lanes are assigned to those with a valid
//! lease.
//!
//! Every process computes the same assignment from the same list. While the lists differ for a moment, two processes
//! may claim the same lane; that costs time but not correctness, which rests on epochs, checkpoints and ids (ADR 0006).

use std::collections::BTreeSet;
use std::time::Duration;

use commands::scribe::LaneId;
use event_log::LaneCount;
use platform::clock_monitor::ClockMonitor;
use platform::connectivity::within_statement_timeout;
use platform::health::Health;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Number of consecutive lanes that go to the same process: the default number of scribe loops, so that each loop gets
/// a lane.
const LANES_PER_BLOCK: usize = 2;
/// Number of heartbeats within one lease.
const HEARTBEATS_PER_LEASE: u64 = 4;

/// Presence of this process in one role.
pub struct Presence {
    pub pool: PgPool,
    pub role: &'static str,
    pub name: String,
    pub lease_ms: i64,
    /// Health of the process, for reports that another process uses the same name.
    pub health: Health,
    /// A process whose clock is off leaves the role until its clock is right again, so that the others get its lanes. A
    /// role that does not depend on the clock passes a monitor that compares nothing.
    pub clock: ClockMonitor,
}

/// Assignment of a process that runs alone: all lanes.
pub fn all_lanes(lanes: LaneCount) -> watch::Receiver<BTreeSet<LaneId>> {
    watch::channel(lanes.lanes().collect()).1
}

impl Presence {
    /// Announces this process until `stop`. The returned channel holds the lanes that are assigned to it.
    ///
    /// A process that cannot reach the store keeps its assignment: it cannot write without the store, and other
    /// processes take its lanes over when its lease expires.
    pub async fn join(self, stop: CancellationToken) -> Result<watch::Receiver<BTreeSet<LaneId>>, sqlx::Error> {
        let mut conflict = NameConflict::new()?;
        let lanes = LaneCount::read(&self.pool).await?;
        let (sender, receiver) = watch::channel(self.heartbeat(&mut conflict, lanes).await?);
        let pause = Duration::from_millis(self.lease_ms.unsigned_abs() / HEARTBEATS_PER_LEASE);
        tokio::spawn(async move {
            while tokio::time::timeout(pause, stop.cancelled()).await.is_err() {
                match within_statement_timeout(self.heartbeat(&mut conflict, lanes)).await {
                    Ok(ours) => _ = sender.send_if_modified(|known| std::mem::replace(known, ours.clone()) != ours),
                    Err(error) => tracing::debug!(role = self.role, %error, "the heartbeat cannot be written"),
                }
            }
            if let Err(error) = within_statement_timeout(self.leave(&conflict)).await {
                tracing::debug!(role = self.role, %error, "the presence cannot be deleted; its lease will expire");
            }
        });
        Ok(receiver)
    }

    /// Announces this process, or deletes its row while its clock is off. Returns the lanes assigned to this process.
    async fn heartbeat(&self, conflict: &mut NameConflict, lanes: LaneCount) -> Result<BTreeSet<LaneId>, sqlx::Error> {
        if self.clock.is_off() {
            self.leave(conflict).await?;
            return Ok(BTreeSet::new());
        }
        self.announce(conflict).await?;
        let names = members(&self.pool, self.role).await?;
        Ok(assign(&names.iter().map(String::as_str).collect::<Vec<_>>(), &self.name, lanes))
    }

    /// Writes a heartbeat, and reports another process of this name.
    async fn announce(&self, conflict: &mut NameConflict) -> Result<(), sqlx::Error> {
        let text = "WITH before AS (SELECT start FROM work.presences WHERE role = $1 AND name = $2)
                    INSERT INTO work.presences (role, name, lease, start)
                    VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond', $4)
                    ON CONFLICT (role, name) DO UPDATE SET lease = excluded.lease, start = excluded.start
                    RETURNING (SELECT start FROM before)";
        let before = sqlx::query_scalar(text).bind(self.role).bind(&self.name).bind(self.lease_ms).bind(conflict.start);
        match conflict.observe(before.fetch_one(&self.pool).await?) {
            true => self.health.report_outage(
                "the name of this process",
                format!(
                    "another `{}` process has the name `{}`, so both claim the same lanes; give each process its own \
                     CARTULARY_OWNER",
                    self.role, self.name
                ),
            ),
            false => self.health.report_recovery("the name of this process"),
        }
        Ok(())
    }

    /// Deletes the row of this start. The row of a successor with the same name stays.
    async fn leave(&self, conflict: &NameConflict) -> Result<(), sqlx::Error> {
        let text = "DELETE FROM work.presences WHERE role = $1 AND name = $2 AND start = $3";
        sqlx::query(text).bind(self.role).bind(&self.name).bind(conflict.start).execute(&self.pool).await.map(|_| ())
    }
}

/// Detector of another running process with the same name.
struct NameConflict {
    /// Random number of this start of the process.
    start: i64,
    announced: bool,
    /// Number of consecutive heartbeats without a conflict.
    quiet: u64,
}

impl NameConflict {
    fn new() -> Result<Self, sqlx::Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
        Ok(Self { start: i64::from_le_bytes(random), announced: false, quiet: HEARTBEATS_PER_LEASE })
    }

    /// Takes the start number that our heartbeat has overwritten, and returns true while there is a conflict: until a
    /// whole lease has passed without a foreign number. The one that the first heartbeat overwrites may be that of a
    /// dead predecessor, so it is no conflict.
    fn observe(&mut self, before: Option<i64>) -> bool {
        let overwritten = self.announced && before.is_some_and(|start| start != self.start);
        self.announced = true;
        self.quiet = if overwritten { 0 } else { self.quiet.saturating_add(1) };
        self.quiet < HEARTBEATS_PER_LEASE
    }
}

/// Names of the processes of a role with a valid lease, sorted.
pub async fn members(pool: &PgPool, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let text = "SELECT name FROM work.presences WHERE role = $1 AND lease > clock_timestamp() ORDER BY name";
    within_statement_timeout(sqlx::query_scalar(text).bind(role).fetch_all(pool)).await
}

/// Lanes assigned to one of these processes: blocks of consecutive lanes, dealt round-robin; none if its name is
/// missing.
fn assign(names: &[&str], name: &str, lanes: LaneCount) -> BTreeSet<LaneId> {
    let Some(place) = names.iter().position(|other| *other == name) else { return BTreeSet::new() };
    let is_ours = |lane: &LaneId| usize::from(lane.0.unsigned_abs()) / LANES_PER_BLOCK % names.len() == place;
    lanes.lanes().filter(is_ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_belongs_to_exactly_one_process() {
        for (count, lanes) in (1..=5).flat_map(|count| [1, 3, 16, 64, 256].map(|lanes| (count, lanes))) {
            let (names, lanes) = (&["a", "b", "c", "d", "e"][..count], LaneCount::try_from(lanes).expect("a number"));
            let assigned: Vec<_> = names.iter().map(|name| assign(names, name, lanes)).collect();
            assert_eq!(assigned.iter().map(BTreeSet::len).sum::<usize>(), lanes.get());
            assert_eq!(assigned.iter().flatten().collect::<BTreeSet<_>>().len(), lanes.get());
            let most = assigned.iter().map(BTreeSet::len).max();
            assert!(most <= Some(lanes.get().div_ceil(count) + 1), "{count} of {lanes}: {most:?}");
        }
        assert!(assign(&["a"], "b", LaneCount::DEFAULT).is_empty());
    }

    #[test]
    fn overwritten_heartbeat_is_a_name_conflict_unless_it_is_the_first() {
        let mut conflict = NameConflict { start: 7, announced: false, quiet: HEARTBEATS_PER_LEASE };
        assert!(!conflict.observe(Some(3)) && !conflict.observe(Some(7)) && !conflict.observe(None));
        assert!(conflict.observe(Some(4)) && conflict.observe(Some(7)));
        assert!((0..HEARTBEATS_PER_LEASE).any(|_| !conflict.observe(Some(7))));
    }
}
