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

use crate::scribe::LANES;

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
        let (sender, receiver) = watch::channel(self.appear().await?);
        let pause = Duration::from_millis(self.lease_ms.unsigned_abs() / HEARTBEATS_PER_LEASE);
        tokio::spawn(async move {
            while tokio::time::timeout(pause, stop.cancelled()).await.is_err() {
                match self.appear().await {
                    Ok(share) => _ = sender.send_if_modified(|known| std::mem::replace(known, share.clone()) != share),
                    Err(error) => tracing::debug!(role = self.role, %error, "nobody can be told that we are here"),
                }
            }
            if let Err(error) = self.leave().await {
                tracing::debug!(role = self.role, %error, "nobody can be told that we leave; the lease will");
            }
        });
        Ok(receiver)
    }

    async fn appear(&self) -> Result<BTreeSet<LaneId>, sqlx::Error> {
        let text = "INSERT INTO work.presences VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond')
                    ON CONFLICT (role, name) DO UPDATE SET lease = excluded.lease";
        sqlx::query(text).bind(self.role).bind(&self.name).bind(self.lease_ms).execute(&self.pool).await?;
        let names = present(&self.pool, self.role).await?;
        Ok(share(&names.iter().map(String::as_str).collect::<Vec<_>>(), &self.name))
    }

    async fn leave(&self) -> Result<(), sqlx::Error> {
        let text = "DELETE FROM work.presences WHERE role = $1 AND name = $2";
        sqlx::query(text).bind(self.role).bind(&self.name).execute(&self.pool).await.map(|_| ())
    }
}

/// The processes of a role that were heard of lately, in the order of their names.
pub async fn present(pool: &PgPool, role: &str) -> Result<Vec<String>, sqlx::Error> {
    let text = "SELECT name FROM work.presences WHERE role = $1 AND lease > clock_timestamp() ORDER BY name";
    sqlx::query_scalar(text).bind(role).fetch_all(pool).await
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
}
