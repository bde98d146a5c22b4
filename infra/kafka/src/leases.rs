//! Leases on lanes, so that each lane is relayed by one process.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use sqlx::PgPool;

/// Leases of one relay in the table `work.relays`.
#[derive(Clone, Debug)]
pub struct Leases {
    pool: PgPool,
    owner: String,
}

/// Renews the leases of this relay and acquires those of all free lanes; other relays stand by. Lanes are not balanced
/// among relays: one keeps up with all scribes, and another exists only to take over.
const ACQUIRE_OR_RENEW: &str = "WITH free AS (
        SELECT lane FROM work.relays WHERE owner = $1 OR lease < clock_timestamp() ORDER BY lane
        FOR UPDATE SKIP LOCKED)
    UPDATE work.relays r SET owner = $1, lease = clock_timestamp() + $2 * interval '1 ms'
    FROM free WHERE r.lane = free.lane RETURNING r.lane";

const RELEASE: &str = "UPDATE work.relays SET owner = '', lease = '-infinity' WHERE owner = $1";

impl Leases {
    /// Each start gets its own owner name: two processes with the same one would both believe that they own the same
    /// lanes.
    pub fn new(pool: PgPool, name: &str) -> Self {
        // A hash map's seed differs at each start, also in containers, where pids repeat.
        let start = RandomState::new().build_hasher().finish();
        Self { owner: format!("{name} {start:016x}"), pool }
    }

    /// Acquires free lanes and renews the leases of owned ones. Returns the lanes owned now.
    pub(crate) async fn acquire_or_renew(&self, lease_ms: i64) -> Result<BTreeSet<i16>, sqlx::Error> {
        let owned = sqlx::query_scalar(ACQUIRE_OR_RENEW).bind(&self.owner).bind(lease_ms).fetch_all(&self.pool).await?;
        Ok(owned.into_iter().collect())
    }

    /// Releases all lanes, so that another relay can take them without waiting for the leases to expire.
    pub(crate) async fn release(&self) -> Result<(), sqlx::Error> {
        sqlx::query(RELEASE).bind(&self.owner).execute(&self.pool).await.map(|_| ())
    }
}
