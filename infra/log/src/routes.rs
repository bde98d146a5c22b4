//! Routing table: the lane of each tenant. A tenant's row is inserted, with a lane chosen by hash, at its first use.

use std::sync::{Arc, RwLock};

use commands::scribe::LaneId;
use domain::shared::TenantId;
use foldhash::HashMap;
use platform::connectivity::within_statement_timeout;
use platform::database::begin_for;
use sqlx::PgPool;

/// Lane of each tenant, with a cache of the routes used by this process. A route never changes while a process runs.
#[derive(Clone)]
pub struct Routes {
    pool: PgPool,
    cache: Arc<RwLock<HashMap<TenantId, LaneId>>>,
}

impl Routes {
    pub fn new(pool: PgPool) -> Self {
        Self { pool, cache: Arc::default() }
    }

    /// The lane of a tenant. Inserts the route of a new tenant.
    pub async fn lane(&self, tenant: TenantId) -> Result<LaneId, sqlx::Error> {
        let cached = self.cache.read().ok().and_then(|cache| cache.get(&tenant).copied());
        if let Some(lane) = cached {
            return Ok(lane);
        }
        let lane = match within_statement_timeout(self.find_or_add(tenant)).await? {
            Some(lane) => lane,
            // Another process inserted the row after the statement took its snapshot; a second run sees it.
            None => within_statement_timeout(self.find_or_add(tenant)).await?.ok_or(sqlx::Error::RowNotFound)?,
        };
        if let Ok(mut cache) = self.cache.write() {
            cache.insert(tenant, lane);
        }
        Ok(lane)
    }

    async fn find_or_add(&self, tenant: TenantId) -> Result<Option<LaneId>, sqlx::Error> {
        let text = "WITH added AS (
                        INSERT INTO log.routes SELECT $1, $2 % count(*) FROM log.lanes ON CONFLICT DO NOTHING RETURNING lane
                    ) SELECT lane FROM added UNION ALL SELECT lane FROM log.routes WHERE tenant = $1 LIMIT 1";
        let mut transaction = begin_for(&self.pool, tenant).await?;
        let lane = sqlx::query_scalar(text).bind(tenant.uuid()).bind(hash(tenant));
        let lane = lane.fetch_optional(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(lane.map(LaneId))
    }
}

/// FNV-1a over the id, not negative: its remainders spread ids evenly over the lanes, whatever their version.
fn hash(tenant: TenantId) -> i64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = tenant.uuid().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, mix);
    (hash >> 16).cast_signed()
}
