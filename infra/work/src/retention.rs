//! Retention: details that nothing needs any more are dropped by a background task.

use std::time::Duration;

use domain::shared::Timestamp;
use platform::clock::{Timestamptz, now, time_before};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

/// Maximum number of rows of one statement.
const BATCH: i64 = 1_000;
/// Pause between two statements, so that they take a small share of the database.
const BATCH_PAUSE: Duration = Duration::from_millis(100);
/// Pause between two sweeps.
const SWEEP_PAUSE: Duration = Duration::from_secs(600);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Ages at which data is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPeriods {
    /// Message and details of a rejection. Its code stays with the receipt, which is kept for ever.
    pub rejection_details: Duration,
    /// Records of attempts to deliver webhooks.
    pub delivery_attempts: Duration,
    /// Dead letters, with the commands and effects in them.
    pub dead_letters: Duration,
}

impl Default for RetentionPeriods {
    fn default() -> Self {
        Self::of_days(90, 30, 90)
    }
}

impl RetentionPeriods {
    pub const fn of_days(rejection_details: u32, delivery_attempts: u32, dead_letters: u32) -> Self {
        Self {
            rejection_details: DAY.saturating_mul(rejection_details),
            delivery_attempts: DAY.saturating_mul(delivery_attempts),
            dead_letters: DAY.saturating_mul(dead_letters),
        }
    }
}

/// Number of rows that one sweep has changed or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub rejection_details: u64,
    pub delivery_attempts: u64,
    pub dead_letters: u64,
}

/// Drops old data. Several processes may do so at a time: none waits for rows that another is dropping.
#[derive(Clone)]
pub struct Retention {
    pub pool: PgPool,
    pub periods: RetentionPeriods,
}

const REJECTION_DETAILS: &str = "
    WITH old AS (SELECT ctid FROM log.receipts WHERE detail IS NOT NULL AND recorded_at < $1
                 ORDER BY recorded_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    UPDATE log.receipts r SET detail = NULL FROM old WHERE r.ctid = old.ctid";
const DELIVERY_ATTEMPTS: &str = "
    WITH old AS (SELECT ctid FROM work.webhook_attempts WHERE begun_at < $1
                 ORDER BY begun_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    DELETE FROM work.webhook_attempts a USING old WHERE a.ctid = old.ctid";
const DEAD_LETTERS: &str = "
    WITH old AS (SELECT ctid FROM work.dead_letters WHERE failed_at < $1
                 ORDER BY failed_at LIMIT $2 FOR UPDATE SKIP LOCKED)
    DELETE FROM work.dead_letters d USING old WHERE d.ctid = old.ctid";

impl Retention {
    /// Sweeps now and then, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let sweeps = async {
            loop {
                if let Err(error) = self.sweep(now()).await {
                    tracing::warn!(%error, "old data cannot be dropped now; trying again");
                }
                tokio::time::sleep(SWEEP_PAUSE).await;
            }
        };
        stop.run_until_cancelled(sweeps).await;
    }

    /// Drops everything that has reached its age at this time.
    pub async fn sweep(&self, at: Timestamp) -> Result<Dropped, sqlx::Error> {
        let RetentionPeriods { rejection_details, delivery_attempts, dead_letters } = self.periods;
        Ok(Dropped {
            rejection_details: self.drop_before(REJECTION_DETAILS, "rejection_details", at, rejection_details).await?,
            delivery_attempts: self.drop_before(DELIVERY_ATTEMPTS, "delivery_attempts", at, delivery_attempts).await?,
            dead_letters: self.drop_before(DEAD_LETTERS, "dead_letters", at, dead_letters).await?,
        })
    }

    /// Executes a statement until it finds no more rows of this age. Returns the number of rows.
    async fn drop_before(
        &self,
        text: &str,
        kind: &'static str,
        at: Timestamp,
        age: Duration,
    ) -> Result<u64, sqlx::Error> {
        let mut dropped = 0_u64;
        loop {
            let query = sqlx::query(text).bind(Timestamptz(time_before(at, age))).bind(BATCH);
            let rows = query.execute(&self.pool).await?.rows_affected();
            dropped = dropped.saturating_add(rows);
            metrics::counter!("cartulary_retention_dropped_total", "kind" => kind).increment(rows);
            if rows == 0 {
                return Ok(dropped);
            }
            tokio::time::sleep(BATCH_PAUSE).await;
        }
    }
}
