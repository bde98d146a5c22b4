//! Delays of take-overs: a lane whose batches fail again and again is taken over less and less often.

use std::collections::BTreeMap;
use std::time::Duration;

use commands::scribe::LaneId;
use platform::retry::{exponential_delay, random};

/// Bound of the delay after the second failure in a row. The first take-over is not delayed, because it follows an ordinary
/// event such as a lost connection.
const FIRST: Duration = Duration::from_millis(100);
/// Bound of the delay after many failures.
const MOST: Duration = Duration::from_secs(2);

/// Number of failed batches in a row, by lane.
#[derive(Default)]
pub(super) struct TakeOverDelays(BTreeMap<LaneId, i32>);

impl TakeOverDelays {
    /// Records the outcome of a batch with rows of this lane.
    pub(super) fn record(&mut self, lane: LaneId, written: bool) {
        if written {
            self.0.remove(&lane);
        } else {
            let failures = self.0.entry(lane).or_insert(0);
            *failures = failures.saturating_add(1);
        }
    }

    /// Delay before the next take-over of a lane.
    pub(super) fn delay(&self, lane: LaneId) -> Duration {
        match self.0.get(&lane) {
            None | Some(1) => Duration::ZERO,
            Some(failures) => {
                let doublings = u32::try_from(failures.saturating_sub(2)).unwrap_or(0);
                let bound = FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(MOST);
                // At least half of the bound, so that several small random numbers in a row do not cause a busy loop.
                let half = bound / 2;
                half.saturating_add(exponential_delay(half, half, 1, random()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_overs_of_a_lane_whose_batches_fail_are_delayed_until_one_is_written() {
        let (mut delays, lane) = (TakeOverDelays::default(), LaneId(3));
        delays.record(lane, false);
        assert_eq!(delays.delay(lane), Duration::ZERO);
        for _ in 0..20 {
            delays.record(lane, false);
            assert!(delays.delay(lane) >= FIRST / 2 && delays.delay(lane) <= MOST);
        }
        assert!(delays.delay(lane) >= MOST / 2);
        assert_eq!(delays.delay(LaneId(4)), Duration::ZERO);
        delays.record(lane, true);
        assert_eq!(delays.delay(lane), Duration::ZERO);
    }
}
