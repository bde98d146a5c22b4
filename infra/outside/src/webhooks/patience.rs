//! How patient we are with addresses outside, and how many are told at a time.

use std::time::Duration;

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// The published schedule of Standard Webhooks 1.0: ten attempts over 75 hours, 35 minutes and 5 seconds.
const PAUSES: [Duration; 9] = [
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
/// What a receiver may at most ask to be left alone for.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(24 * HOUR);
/// So many hundredths of a pause are added at most, so that those who failed together do not come back together.
const JITTER_PERCENT: u32 = 10;

/// Bounds of what is tried, and how long we wait in between.
#[derive(Clone, Copy, Debug)]
pub struct WebhookLimits {
    /// An attempt that takes longer has failed; looking up the name and connecting included.
    pub attempt_time_most: Duration,
    /// The pause after the first failure, after the second, and so on; after one more failure nothing is tried any more.
    pub pauses: &'static [Duration],
    /// Subscriptions that one process works on at a time.
    pub places: usize,
    /// How many of these may be of one tenant.
    pub tenant_places: usize,
    /// How many of these may have failed at last or taken long: who is slow must leave room for those who are well.
    pub troubled_places: usize,
}

impl Default for WebhookLimits {
    fn default() -> Self {
        Self {
            attempt_time_most: Duration::from_secs(15),
            pauses: &PAUSES,
            places: 64,
            tenant_places: 8,
            troubled_places: 32,
        }
    }
}

impl WebhookLimits {
    /// How long a cursor is left to whoever works on it: an attempt, and twice as long to write down what it came to.
    pub(super) fn lease(&self) -> Duration {
        self.attempt_time_most.saturating_mul(3)
    }

    /// How long to wait after so many failures in a row; nothing where it was the last. A receiver that asks for more
    /// time gets it. `random` is drawn from all numbers.
    pub(super) fn pause(&self, failures: i32, retry_after: Option<Duration>, random: u64) -> Option<Duration> {
        let index = usize::try_from(failures.saturating_sub(1)).ok()?;
        let planned = *self.pauses.get(index)?;
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MOST);
        let pause = planned.max(asked);
        let most = u64::try_from((pause * JITTER_PERCENT / 100).as_millis()).unwrap_or(u64::MAX);
        Some(pause + Duration::from_millis(random % most.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_attempts_are_made_within_the_published_time_and_a_tenth_of_it() {
        let limits = WebhookLimits::default();
        let sum = |random: fn(i32) -> u64| -> Duration {
            (1..).map_while(|failures| limits.pause(failures, None, random(failures))).sum()
        };
        let published = Duration::from_secs(75 * HOUR + 35 * MINUTE + 5);
        assert_eq!(sum(|_| 0), published);
        for failures in 1..=9 {
            let plain = limits.pause(failures, None, 0).expect("another attempt");
            for random in [1, 499, 500, 501, 123_456_789, u64::MAX] {
                let drawn = limits.pause(failures, None, random).expect("another attempt");
                assert!(plain <= drawn && drawn <= plain * 11 / 10, "{failures}: {drawn:?}");
            }
        }
        assert_eq!((limits.pause(9, None, 0), limits.pause(10, None, 0)), (Some(Duration::from_secs(24 * HOUR)), None));
    }

    #[test]
    fn a_receiver_that_asks_for_more_time_gets_it_within_bounds() {
        let limits = WebhookLimits::default();
        let after = |seconds| limits.pause(1, Some(Duration::from_secs(seconds)), 0).map(|pause| pause.as_secs());
        assert_eq!([after(0), after(3), after(90), after(u64::MAX)], [Some(5), Some(5), Some(90), Some(24 * HOUR)]);
        assert_eq!(limits.pause(10, Some(Duration::from_secs(1)), 0), None);
    }
}
