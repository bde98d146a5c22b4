//! Which lane a tenant lives in: a row per tenant, filled by hash when the tenant is first seen.

use std::sync::{Arc, RwLock};

use commands::scribe::LaneId;
use domain::shared::TenantId;
use foldhash::HashMap;
use kafka::LANES;
use sqlx::PgPool;

use platform::connectivity::answered;

/// The routes of all tenants that were active in this process. A route never changes while a process runs.
#[derive(Clone)]
pub struct Routes {
    pool: PgPool,
    known: Arc<RwLock<HashMap<TenantId, LaneId>>>,
}

impl Routes {
    pub fn new(pool: PgPool) -> Self {
        Self { pool, known: Arc::default() }
    }

    pub async fn lane(&self, tenant: TenantId) -> Result<LaneId, sqlx::Error> {
        let known = self.known.read().ok().and_then(|known| known.get(&tenant).copied());
        if let Some(lane) = known {
            return Ok(lane);
        }
        let text = "WITH added AS (
                        INSERT INTO log.routes VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING lane
                    ) SELECT lane FROM added UNION ALL SELECT lane FROM log.routes WHERE tenant = $1 LIMIT 1";
        let find = || sqlx::query_scalar::<_, i16>(text).bind(tenant.uuid()).bind(by_hash(tenant).0);
        let lane = match answered(find().fetch_optional(&self.pool)).await? {
            Some(lane) => LaneId(lane),
            // Another process inserted it between the two halves of the statement; now it is visible.
            None => LaneId(answered(find().fetch_one(&self.pool)).await?),
        };
        if let Ok(mut known) = self.known.write() {
            known.insert(tenant, lane);
        }
        Ok(lane)
    }
}

/// FNV-1a over the id: spreads ids evenly, however they were made.
fn by_hash(tenant: TenantId) -> LaneId {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = tenant.uuid().as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, mix);
    LaneId(i16::try_from((hash >> 16).rem_euclid(LANES.unsigned_abs().into())).unwrap_or(0))
}
