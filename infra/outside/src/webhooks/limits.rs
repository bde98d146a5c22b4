//! Limits of webhooks: time limit of an attempt, number of attempts, and concurrency.

use std::time::Duration;

use work::queue::CircuitBreaker;

use super::retry_schedule::RETRY_SCHEDULE;

/// Limits of the webhooks of one process.
#[derive(Clone, Copy, Debug)]
pub struct WebhookLimits {
    /// Time limit of an attempt, including the resolution of the name and the connection.
    pub attempt_time_most: Duration,
    /// Delays after the first failure, the second, and so on. After one failure more than there are delays, the
    /// subscription is paused.
    pub retry_schedule: &'static [Duration],
    /// Maximum number of cursors that are run at a time.
    pub runs_most: usize,
    /// Maximum number of these that belong to one tenant.
    pub tenant_runs_most: usize,
    /// Maximum number of these that are degraded: their last attempt failed or was slow. The others are left to healthy
    /// cursors.
    pub degraded_runs_most: usize,
    /// Circuit breaker of a subscription. It stays open until the next attempt, and for its open time at least.
    pub breaker: CircuitBreaker,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            attempt_time_most: Duration::from_secs(15),
            retry_schedule: &RETRY_SCHEDULE,
            runs_most: 64,
            tenant_runs_most: 8,
            degraded_runs_most: 32,
            breaker: CircuitBreaker { failures_most: 5, open_time: Duration::from_secs(30) },
        }
    }
}

impl WebhookLimits {
    /// Lease of a claimed cursor: the time limit of an attempt, and twice as much to store its result.
    pub(super) fn lease(&self) -> Duration {
        self.attempt_time_most.saturating_mul(3)
    }
}
