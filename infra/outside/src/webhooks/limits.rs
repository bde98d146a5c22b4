//! Limits of webhook deliveries: retry schedule, time limit of an attempt, and concurrency.

use std::time::Duration;

use platform::retry::{random, scheduled_delay};

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The published schedule of Standard Webhooks 1.0: ten attempts over 75 hours, 35 minutes and 5 seconds.
const RETRY_SCHEDULE: [Duration; 9] = [
    Duration::from_secs(5 * SECOND),
    Duration::from_secs(5 * MINUTE),
    Duration::from_secs(30 * MINUTE),
    Duration::from_secs(2 * HOUR),
    Duration::from_secs(5 * HOUR),
    Duration::from_secs(10 * HOUR),
    Duration::from_secs(14 * HOUR),
    Duration::from_secs(20 * HOUR),
    Duration::from_secs(24 * HOUR),
];
/// Longest `Retry-After` of a receiver that is respected.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(24 * HOUR);

/// Limits of webhook deliveries in one process.
#[derive(Clone, Copy, Debug)]
pub struct WebhookLimits {
    /// Time limit of an attempt, including the resolution of the name and the connection.
    pub attempt_time_most: Duration,
    /// Delays after the first failure, the second, and so on. After one failure more the subscription is paused.
    pub retry_schedule: &'static [Duration],
    /// Maximum number of subscriptions with a delivery in progress.
    pub deliveries_most: usize,
    /// Maximum number of these that belong to one tenant.
    pub tenant_deliveries_most: usize,
    /// Maximum number of these that are degraded, which means that their last attempt failed or was slow. The rest is
    /// left to healthy ones.
    pub degraded_deliveries_most: usize,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            attempt_time_most: Duration::from_secs(15),
            retry_schedule: &RETRY_SCHEDULE,
            deliveries_most: 64,
            tenant_deliveries_most: 8,
            degraded_deliveries_most: 32,
        }
    }
}

impl WebhookLimits {
    /// Lease of a claimed cursor: the time of an attempt, and twice as much to store its result.
    pub(super) fn lease(&self) -> Duration {
        self.attempt_time_most.saturating_mul(3)
    }

    /// Delay after this number of consecutive failures, with jitter; none after the last attempt. A longer
    /// `Retry-After` of the receiver replaces the scheduled delay.
    pub(super) fn retry_delay(&self, failures: i32, retry_after: Option<Duration>) -> Option<Duration> {
        let retry_after = retry_after.unwrap_or_default().min(RETRY_AFTER_MOST);
        scheduled_delay(self.retry_schedule, failures, retry_after, random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_span_the_published_time_and_at_most_a_tenth_more() {
        let limits = WebhookLimits::default();
        let delays: Vec<Duration> = (1..).map_while(|failures| limits.retry_delay(failures, None)).collect();
        let published = Duration::from_secs(75 * HOUR + 35 * MINUTE + 5);
        let sum: Duration = delays.iter().sum();
        assert_eq!(delays.len(), 9);
        assert!(published <= sum && sum <= published * 11 / 10, "{sum:?}");
    }

    #[test]
    fn retry_after_is_respected_up_to_a_day() {
        let limits = WebhookLimits::default();
        for (seconds, expected) in [(0, 5), (3, 5), (90, 90), (u64::MAX, 24 * HOUR)] {
            let delay = limits.retry_delay(1, Some(Duration::from_secs(seconds))).expect("another attempt");
            let expected = Duration::from_secs(expected);
            assert!(expected <= delay && delay <= expected * 11 / 10, "{seconds}: {delay:?}");
        }
        assert_eq!(limits.retry_delay(10, Some(Duration::from_secs(1))), None);
    }
}
