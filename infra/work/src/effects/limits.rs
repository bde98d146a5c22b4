//! How patient we are with partners.

use std::time::Duration;

/// Bounds of what is tried, and how long we wait in between.
#[derive(Clone, Copy, Debug)]
pub struct EffectLimits {
    /// An attempt that takes longer has failed.
    pub attempt_time_most: Duration,
    /// After so many attempts an effect is given up.
    pub attempts_most: i32,
    /// After so long an effect is given up.
    pub age_most: Duration,
    /// The longest pause after the first failure; it doubles with every other one.
    pub first_pause: Duration,
    pub pause_most: Duration,
    /// After so many failures in a row, a partner is left alone.
    pub failures_most: i32,
    /// How long; then one effect finds out whether it is well again.
    pub rest: Duration,
}

impl Default for EffectLimits {
    fn default() -> Self {
        Self {
            attempt_time_most: Duration::from_secs(10),
            attempts_most: 20,
            age_most: Duration::from_secs(3 * 24 * 60 * 60),
            first_pause: Duration::from_secs(2),
            pause_most: Duration::from_secs(60 * 60),
            failures_most: 5,
            rest: Duration::from_secs(30),
        }
    }
}

impl EffectLimits {
    /// How long a row is left to whoever works on it: an attempt, and twice as long to write down what it came to.
    pub(super) fn lease(&self) -> Duration {
        self.attempt_time_most.saturating_mul(3)
    }

    /// How long to wait after so many attempts: anything up to a bound that doubles, so that those who failed together
    /// do not come back together. `random` is drawn from all numbers.
    pub(super) fn pause(&self, attempts: i32, random: u64) -> Duration {
        let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(0);
        let bound = self.first_pause.saturating_mul(2_u32.saturating_pow(doublings)).min(self.pause_most);
        let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(random % millis.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_drawn_from_a_range_that_doubles_up_to_a_bound() {
        let limits = EffectLimits { pause_most: Duration::from_secs(60), ..EffectLimits::default() };
        let longest = |attempts| (0..=120_000).map(|random| limits.pause(attempts, random)).max();
        let seconds = [1, 2, 3, 5, 6, 20, i32::MAX].map(|attempts| longest(attempts).map(|most| most.as_secs()));
        assert_eq!(seconds, [2, 4, 8, 32, 60, 60, 60].map(Some));
        assert_eq!(limits.pause(7, 0), Duration::ZERO);
    }
}
