//! Circuit breaker of a queue: a partner that has failed several times in a row is not called for a while. The row of the
//! queue holds the failures and the end of that time.

use std::time::Duration;

use platform::clock::{Timestamptz, now, time_after};
use sqlx::PgPool;

use super::lease::RunEnd;

/// Limits of a circuit breaker.
#[derive(Clone, Copy, Debug)]
pub struct CircuitBreaker {
    /// Number of consecutive failures of a partner after which it opens.
    pub failures_most: i32,
    /// Time that it stays open; then a single call tests the partner.
    pub open_time: Duration,
}

impl CircuitBreaker {
    /// End of a run after which the partner has failed this number of times in a row.
    pub fn after_failures(&self, failures: i32) -> RunEnd {
        let is_open = failures >= self.failures_most;
        let closed_until = is_open.then(|| time_after(now(), self.open_time));
        RunEnd { worked: true, failures: Some(failures), closed_until, is_lane_away: false }
    }
}

/// Counts the open circuit breakers of the queues of one kind in these lanes.
pub(super) async fn count_open(pool: &PgPool, kind: &str, lanes: &[i16]) -> Result<u32, sqlx::Error> {
    let text = "SELECT count(*) FROM work.queues q JOIN log.routes r ON r.tenant = q.tenant
                WHERE q.kind = $1 AND q.closed_until > $2 AND q.closed_until > '-infinity' AND r.lane = ANY($3)";
    let count: i64 = sqlx::query_scalar(text).bind(kind).bind(Timestamptz(now())).bind(lanes).fetch_one(pool).await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
