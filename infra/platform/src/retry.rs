//! Retry policy: delays between attempts, with jitter so that callers that failed together do not retry together.
//!
//! Pure functions over a random number, which the caller draws with [`random`] from the whole range of `u64`.

use std::time::Duration;

/// Jitter of a fixed schedule: largest extension of the planned delay, in per cent.
const JITTER_PERCENT: u32 = 10;

/// A random number for one delay; 0 without a source of randomness. The delays are then not spread, which does no other
/// harm.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).ok();
    u64::from_le_bytes(bytes)
}

/// Exponential back-off with full jitter: a delay from zero to a bound that is `first` after the first failure, doubles
/// with each further one, and stays at `most`.
pub fn exponential_delay(first: Duration, most: Duration, failures: i32, random: u64) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(0);
    let bound = first.saturating_mul(2_u32.saturating_pow(doublings)).min(most);
    up_to(bound, random)
}

/// Fixed schedule with ten percent jitter: the delay after the given number of consecutive failures; `None` when the
/// schedule has no further delay. `retry_after`, the time that the receiver asks for, replaces a shorter delay; the
/// caller limits it.
pub fn scheduled_delay(schedule: &[Duration], failures: i32, retry_after: Duration, random: u64) -> Option<Duration> {
    let index = usize::try_from(failures.saturating_sub(1)).ok()?;
    let delay = (*schedule.get(index)?).max(retry_after);
    Some(delay.saturating_add(up_to(delay.saturating_mul(JITTER_PERCENT) / 100, random)))
}

/// A delay from zero to `most`, in whole milliseconds.
fn up_to(most: Duration, random: u64) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(random % millis.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(300), Duration::from_secs(86_400)];

    #[test]
    fn exponential_delays_are_spread_over_a_range_that_doubles_up_to_a_bound() {
        let (first, most) = (Duration::from_secs(2), Duration::from_secs(60));
        let delays = |failures| (0..=120_000).map(move |random| exponential_delay(first, most, failures, random));
        let longest = |failures| delays(failures).max().map(|delay| delay.as_secs());
        assert_eq!([1, 2, 3, 5, 6, 20, i32::MAX].map(longest), [2, 4, 8, 32, 60, 60, 60].map(Some));
        assert_eq!(delays(7).min(), Some(Duration::ZERO));
        assert_eq!(exponential_delay(first, most, 0, 2_000), first);
    }

    #[test]
    fn scheduled_delays_are_lengthened_by_at_most_a_tenth() {
        for (failures, planned) in (1..).zip(SCHEDULE) {
            assert_eq!(scheduled_delay(&SCHEDULE, failures, Duration::ZERO, 0), Some(planned));
            for random in [1, 499, 500, 501, 123_456_789, u64::MAX] {
                let delay = scheduled_delay(&SCHEDULE, failures, Duration::ZERO, random).expect("another attempt");
                assert!(planned <= delay && delay <= planned * 11 / 10, "{failures}: {delay:?}");
            }
        }
    }

    #[test]
    fn a_schedule_ends_after_its_last_delay() {
        for failures in [-1, 0, 4, i32::MAX] {
            assert_eq!(scheduled_delay(&SCHEDULE, failures, Duration::from_secs(1), 0), None, "{failures}");
        }
    }

    #[test]
    fn a_longer_retry_after_replaces_the_planned_delay() {
        let delay =
            |seconds| scheduled_delay(&SCHEDULE, 1, Duration::from_secs(seconds), 0).map(|delay| delay.as_secs());
        assert_eq!([delay(0), delay(3), delay(90)], [Some(5), Some(5), Some(90)]);
        assert_eq!(scheduled_delay(&SCHEDULE, 1, Duration::MAX, u64::MAX), Some(Duration::MAX));
    }
}
