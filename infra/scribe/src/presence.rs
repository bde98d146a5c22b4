//! Who is there: processes of one role share the lanes out among those that were heard of lately.
//!
//! Everybody computes the same shares from the same list. While lists differ for a moment, two may want the same lane;
//! that costs time and nothing else, because epochs, checkpoints and ids decide what counts.

use std::collections::BTreeSet;
use std::time::Duration;

use commands::scribe::LaneId;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use kafka::LANES;
use platform::connectivity::answered;
use platform::health::Health;

/// How many lanes that follow each other go to the same process: as many as its scribe has loops, so that each loop
/// gets its part.
const LANES_IN_A_ROW: usize = 2;
/// How often a process says that it is there, within the time after which it counts as gone.
const HEARTBEATS_PER_LEASE: u64 = 4;

/// That a process is there, in one of its roles.
pub struct Presence {
    pub pool: PgPool,
    pub role: &'static str,
    pub name: String,
    pub lease_ms: i64,
    /// Says there that somebody else goes by the same name.
    pub health: Health,
}

/// All lanes, for a process that has nobody to share them with.
pub fn alone() -> watch::Receiver<BTreeSet<LaneId>> {
    watch::channel(share(&["alone"], "alone")).1
}

impl Presence {
    /// Says that this process is there, again and again until `stop`, and keeps its share of the lanes up to date.
    ///
    /// Who cannot reach the store keeps its share: it can do nothing with it, and nobody was told to take it.
    pub async fn join(self, stop: CancellationToken) -> Result<watch::Receiver<BTreeSet<LaneId>>, sqlx::Error> {
        let mut rivals = Rivals::new()?;
        let (sender, receiver) = watch::channel(self.appear(&mut rivals).await?);
        let pause = Duration::from_millis(self.lease_ms.unsigned_abs() / HEARTBEATS_PER_LEASE);
        tokio::spawn(async move {
            while tokio::time::timeout(pause, stop.cancelled()).await.is_err() {
                match answered(self.appear(&mut rivals)).await {
                    Ok(share) => _ = sender.send_if_modified(|known| std::mem::replace(known, share.clone()) != share),
                    Err(error) => tracing::debug!(role = self.role, %error, "nobody can be told that we are here"),
                }
            }
            if let Err(error) = answered(self.leave(&rivals)).await {
                tracing::debug!(role = self.role, %error, "nobody can be told that we leave; the lease will");
            }
        });
        Ok(receiver)
    }

    async fn appear(&self, rivals: &mut Rivals) -> Result<BTreeSet<LaneId>, sqlx::Error> {
        let text = "WITH before AS (SELECT start FROM work.presences WHERE role = $1 AND name = $2)
                    INSERT INTO work.presences (role, name, lease, start)
                    VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond', $4)
                    ON CONFLICT (role, name) DO UPDATE SET lease = excluded.lease, start = excluded.start
                    RETURNING (SELECT start FROM before)";
        let before = sqlx::query_scalar(text).bind(self.role).bind(&self.name).bind(self.lease_ms).bind(rivals.ours);
        match rivals.heard_of(before.fetch_one(&self.pool).await?) {
            true => self.health.away(
                "the name of this process",
                format!(
                    "another {} goes by the name `{}` and takes its lanes again and again; set CARTULARY_OWNER",
                    self.role, self.name
                ),
            ),
            false => self.health.back("the name of this process"),
        }
        let names = present(&self.pool, self.role).await?;
        Ok(share(&names.iter().map(String::as_str).collect::<Vec<_>>(), &self.name))
    }

    /// Takes back what was said at this start. A successor of the same name has said it anew.
    async fn leave(&self, rivals: &Rivals) -> Result<(), sqlx::Error> {
        let text = "DELETE FROM work.presences WHERE role = $1 AND name = $2 AND start = $3";
        sqlx::query(text).bind(self.role).bind(&self.name).bind(rivals.ours).execute(&self.pool).await.map(|_| ())
    }
}

/// Whether somebody else uses our name.
struct Rivals {
    /// Random, and of this start alone.
    ours: i64,
    appeared: bool,
    /// How often in a row nobody else was heard of.
    quiet: u64,
}

impl Rivals {
    fn new() -> Result<Self, sqlx::Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))?;
        Ok(Self { ours: i64::from_le_bytes(random), appeared: false, quiet: HEARTBEATS_PER_LEASE })
    }

    /// Takes in whose start stood there before ours was written. Who stood there at our first time may have been killed
    /// since; who stands there later has come after us.
    fn heard_of(&mut self, before: Option<i64>) -> bool {
        let rival = self.appeared && before.is_some_and(|start| start != self.ours);
        self.appeared = true;
        self.quiet = if rival { 0 } else { self.quiet.saturating_add(1) };
        self.quiet < HEARTBEATS_PER_LEASE
    }
}

/// The processes of a role that were heard of lately, in the order of their names.
pub async fn present(pool: &PgPool, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let text = "SELECT name FROM work.presences WHERE role = $1 AND lease > clock_timestamp() ORDER BY name";
    answered(sqlx::query_scalar(text).bind(role).fetch_all(pool)).await
}

/// The lanes that fall to one of these processes.
fn share(names: &[&str], name: &str) -> BTreeSet<LaneId> {
    let Some(place) = names.iter().position(|one| *one == name) else { return BTreeSet::new() };
    let falls_to_us = |lane: &i16| usize::from(lane.unsigned_abs()) / LANES_IN_A_ROW % names.len() == place;
    (0..LANES).filter(falls_to_us).map(LaneId).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lane_falls_to_exactly_one_of_any_number_of_processes() {
        for count in 1..=5 {
            let names = &["a", "b", "c", "d", "e"][..count];
            let shares: Vec<_> = names.iter().map(|name| share(names, name)).collect();
            assert_eq!(shares.iter().map(BTreeSet::len).sum::<usize>(), usize::from(LANES.unsigned_abs()));
            assert_eq!(shares.iter().flatten().collect::<BTreeSet<_>>().len(), usize::from(LANES.unsigned_abs()));
            let most = shares.iter().map(BTreeSet::len).max();
            assert!(most <= Some(16_usize.div_ceil(count) + 1), "{count}: {most:?}");
        }
        assert!(share(&["a"], "b").is_empty());
    }

    #[test]
    fn who_writes_over_us_is_a_rival_and_who_was_there_before_us_may_be_dead() {
        let mut rivals = Rivals { ours: 7, appeared: false, quiet: HEARTBEATS_PER_LEASE };
        assert!(!rivals.heard_of(Some(3)) && !rivals.heard_of(Some(7)) && !rivals.heard_of(None));
        assert!(rivals.heard_of(Some(4)) && rivals.heard_of(Some(7)));
        assert!((0..HEARTBEATS_PER_LEASE).any(|_| !rivals.heard_of(Some(7))));
    }
}
