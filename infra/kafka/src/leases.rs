//! Which relay keeps which lane.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use sqlx::PgPool;

/// The lanes of one relay, held for a while at a time in `work.relays`.
#[derive(Clone, Debug)]
pub struct Leases {
    pool: PgPool,
    owner: String,
}

/// Whoever comes first takes all that is free; the others stand by. Lanes are not dealt out, because one relay keeps up
/// with every scribe and a second one is there for the day the first is gone.
const HOLD: &str = "WITH free AS (
        SELECT lane FROM work.relays WHERE owner = $1 OR lease < clock_timestamp() ORDER BY lane
        FOR UPDATE SKIP LOCKED)
    UPDATE work.relays r SET owner = $1, lease = clock_timestamp() + $2 * interval '1 ms'
    FROM free WHERE r.lane = free.lane RETURNING r.lane";

const RELEASE: &str = "UPDATE work.relays SET owner = '', lease = '-infinity' WHERE owner = $1";

impl Leases {
    /// Every start is an owner of its own: two processes of one name would both believe they hold a lane.
    pub fn new(pool: PgPool, name: &str) -> Self {
        // The seed of a hash map differs from start to start, also where pids repeat as they do in containers.
        let start = RandomState::new().build_hasher().finish();
        Self { owner: format!("{name} {start:016x}"), pool }
    }

    /// Takes what is free and renews what is held. The lanes that are held now.
    pub(crate) async fn hold(&self, lease_ms: i64) -> Result<BTreeSet<i16>, sqlx::Error> {
        let held = sqlx::query_scalar(HOLD).bind(&self.owner).bind(lease_ms).fetch_all(&self.pool).await?;
        Ok(held.into_iter().collect())
    }

    /// Lets others have the lanes at once.
    pub(crate) async fn release(&self) -> Result<(), sqlx::Error> {
        sqlx::query(RELEASE).bind(&self.owner).execute(&self.pool).await.map(|_| ())
    }
}
