//! Retry schedule of webhooks.

use std::time::Duration;

use platform::retry::{random, scheduled_delay};

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The published schedule of Standard Webhooks 1.0: ten attempts over 75 hours, 35 minutes and 5 seconds.
pub(super) const RETRY_SCHEDULE: [Duration; 9] = [
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
/// Upper bound of the delay that a receiver sets with `Retry-After`.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(24 * HOUR);

/// Delay after this number of consecutive failures, with jitter; `None` after the last attempt. A longer `Retry-After`
/// of the receiver replaces the scheduled delay.
pub(super) fn retry_delay(schedule: &[Duration], failures: i32, retry_after: Option<Duration>) -> Option<Duration> {
    let retry_after = retry_after.unwrap_or_default().min(RETRY_AFTER_MOST);
    scheduled_delay(schedule, failures, retry_after, random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_span_the_published_time_and_at_most_a_tenth_more() {
        let delays: Vec<Duration> = (1..).map_while(|failures| retry_delay(&RETRY_SCHEDULE, failures, None)).collect();
        let published = Duration::from_secs(75 * HOUR + 35 * MINUTE + 5);
        let sum: Duration = delays.iter().sum();
        assert_eq!(delays.len(), 9);
        assert!(published <= sum && sum <= published * 11 / 10, "{sum:?}");
    }

    #[test]
    fn retry_after_is_respected_up_to_a_day() {
        for (seconds, expected) in [(0, 5), (3, 5), (90, 90), (u64::MAX, 24 * HOUR)] {
            let delay = retry_delay(&RETRY_SCHEDULE, 1, Some(Duration::from_secs(seconds))).expect("another attempt");
            let expected = Duration::from_secs(expected);
            assert!(expected <= delay && delay <= expected * 11 / 10, "{seconds}: {delay:?}");
        }
        assert_eq!(retry_delay(&RETRY_SCHEDULE, 10, Some(Duration::from_secs(1))), None);
    }
}
