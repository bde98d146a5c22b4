//! Delays of lanes that no process decides: their queues are not claimed for a while.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use commands::scribe::LaneId;
use tokio::time::Instant;

/// Delay after the first failure; doubles with each further one.
const FIRST: Duration = Duration::from_millis(200);
/// Longest delay.
const MOST: Duration = Duration::from_secs(5);

/// Lanes that are left out for a while.
#[derive(Default)]
pub(super) struct LaneDelays(HashMap<LaneId, Delay>);

#[derive(Clone, Copy)]
struct Delay {
    last: Duration,
    until: Instant,
}

impl LaneDelays {
    /// Records that a command in a lane was not decided. Failures of runs that began before the delay count once.
    pub(super) fn record_away(&mut self, lane: LaneId, now: Instant) {
        if self.0.get(&lane).is_some_and(|delay| delay.until > now) {
            return;
        }
        let next = self.0.get(&lane).map_or(FIRST, |delay| (delay.last * 2).min(MOST));
        self.0.insert(lane, Delay { last: next, until: now + next });
    }

    /// Records that a command in a lane was decided.
    pub(super) fn record_success(&mut self, lane: LaneId) {
        self.0.remove(&lane);
    }

    /// Lanes whose delay has not passed. Forgets those whose delay passed long ago.
    pub(super) fn current(&mut self, now: Instant) -> BTreeSet<LaneId> {
        self.0.retain(|_, delay| delay.until + MOST > now);
        self.0.iter().filter(|(_, delay)| delay.until > now).map(|(lane, _)| *lane).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: LaneId = LaneId(3);

    #[test]
    fn lane_is_left_out_for_a_growing_and_bounded_time() {
        let (mut delays, mut now) = (LaneDelays::default(), Instant::now());
        for expected in [200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            // Two runs of the lane fail at the same time.
            delays.record_away(LANE, now);
            delays.record_away(LANE, now);
            now += Duration::from_millis(expected - 1);
            assert_eq!(delays.current(now), BTreeSet::from([LANE]), "{expected}");
            now += Duration::from_millis(1);
            assert_eq!(delays.current(now), BTreeSet::new(), "{expected}");
        }
        delays.record_success(LANE);
        delays.record_away(LANE, now);
        assert_eq!(delays.current(now + FIRST), BTreeSet::new());
    }
}
