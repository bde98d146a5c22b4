//! Clock monitor: compares the clock of this process with that of the database.
//!
//! A process whose clock is off by more than two seconds takes and keeps no lane: the fence of the commit statement would
//! refuse its batches (clock ahead), or its decisions and timers would be late (clock behind).

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use domain::shared::Timestamp;
use metrics::gauge;
use sqlx::PgConnection;

use crate::clock::{Clock, Timestamptz};
use crate::health::Health;

/// Largest difference from the database's clock with which a process may write lanes. The fence of the commit statement
/// has the same bound.
pub const DIFFERENCE_MOST: Duration = Duration::from_secs(2);
/// Name of the clock in the health report.
const COMPONENT: &str = "the clock of this process";

/// Comparison of the clock of this process with the database's. Clones share its result.
#[derive(Clone, Default)]
pub struct ClockMonitor {
    clock: Clock,
    health: Health,
    /// Description of the difference while it is too large.
    problem: Arc<RwLock<Option<String>>>,
}

impl ClockMonitor {
    /// Monitors this clock, and reports a difference that is too large to this health report.
    pub fn new(clock: Clock, health: Health) -> Self {
        Self { clock, health, problem: Arc::default() }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The difference while it is too large, as a phrase for messages: `3.0 s ahead of …`.
    pub fn problem(&self) -> Option<String> {
        self.problem.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn is_off(&self) -> bool {
        self.problem.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Reads the database's clock on a connection and compares. Returns false if the difference is too large.
    pub async fn compare(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let sent = self.now();
        let database: Timestamptz = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(connection).await?;
        Ok(self.observe(sent, database.0))
    }

    /// Compares the clock with the database's. `sent` is a time of this clock; `database` is the time of the database,
    /// read after `sent` and before this call. Returns false if the difference is too large.
    pub fn observe(&self, sent: Timestamp, database: Timestamp) -> bool {
        let received = self.now();
        let of = |own: Timestamp| own.micros().saturating_sub(database.micros());
        let difference = Difference { least: of(sent.min(received)), most: of(sent.max(received)) };
        gauge!("cartulary_clock_difference_seconds").set(difference.estimate_seconds());
        if let Some(is_off) = difference.is_off() {
            self.record(is_off.then(|| difference.to_string()));
        }
        !self.is_off()
    }

    fn record(&self, problem: Option<String>) {
        gauge!("cartulary_clock_off").set(f64::from(u8::from(problem.is_some())));
        match &problem {
            Some(difference) => self.health.report_outage(
                COMPONENT,
                format!(
                    "it is {difference} the database's clock; with more than {} s this process writes no lanes: set the \
                     clocks of both machines (NTP)",
                    DIFFERENCE_MOST.as_secs()
                ),
            ),
            None => self.health.report_recovery(COMPONENT),
        }
        *self.problem.write().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

impl fmt::Debug for ClockMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockMonitor").field("problem", &self.problem()).finish_non_exhaustive()
    }
}

/// Bounds of our clock minus the database's, in microseconds. Their distance is the duration of the round trip.
#[derive(Clone, Copy)]
struct Difference {
    least: i64,
    most: i64,
}

impl Difference {
    /// True if the difference is certainly too large, false if it certainly is not, `None` if the round trip was too long
    /// to know.
    fn is_off(self) -> Option<bool> {
        let limit = i64::try_from(DIFFERENCE_MOST.as_micros()).unwrap_or(i64::MAX);
        if self.least > limit || self.most < -limit {
            return Some(true);
        }
        (self.least >= -limit && self.most <= limit).then_some(false)
    }

    #[expect(clippy::cast_precision_loss, reason = "a metric")]
    fn estimate_seconds(self) -> f64 {
        (self.least.saturating_add(self.most) / 2) as f64 / 1e6
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.estimate_seconds();
        write!(f, "{:.1} s {}", seconds.abs(), if seconds > 0.0 { "ahead of" } else { "behind" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn is_off(least: i64, most: i64) -> Option<bool> {
        Difference { least, most }.is_off()
    }

    #[test]
    fn difference_is_judged_only_as_far_as_the_round_trip_allows() {
        assert_eq!(is_off(2 * SECOND, 2 * SECOND), Some(false));
        assert_eq!(is_off(2 * SECOND + 1, 9 * SECOND), Some(true));
        assert_eq!(is_off(-9 * SECOND, -2 * SECOND - 1), Some(true));
        assert_eq!(is_off(-SECOND, 3 * SECOND), None);
        assert_eq!(is_off(-3 * SECOND, 3 * SECOND), None);
    }

    #[test]
    fn clock_that_is_off_is_reported_until_it_is_right_again() {
        let (clock, health) = (Clock::default(), Health::default());
        let monitor = ClockMonitor::new(clock.clone(), health.clone());
        assert!(monitor.observe(monitor.now(), crate::clock::now()));
        clock.shift(3 * SECOND);
        assert!(!monitor.observe(monitor.now(), crate::clock::now()));
        assert!(monitor.problem().is_some_and(|problem| problem == "3.0 s ahead of"), "{monitor:?}");
        assert!(health.reasons()[0].starts_with("the clock of this process: it is 3.0 s ahead of"));
        clock.shift(-7_200 * SECOND);
        assert!(!monitor.observe(monitor.now(), crate::clock::now()));
        assert!(health.reasons()[0].contains("7200.0 s behind the database's clock"), "{:?}", health.reasons());
        clock.shift(0);
        assert!(monitor.observe(monitor.now(), crate::clock::now()));
        assert_eq!(health.reasons().len(), 0);
    }
}
