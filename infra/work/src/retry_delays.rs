//! Delays after not-now: lanes and tenants whose commands were not decided, and the time until which no timer of them is
//! tried again.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

use commands::kernel::NotNow;
use commands::scribe::LaneId;
use domain::shared::TenantId;
use tokio::time::Instant;

/// Delay after the first not-now; doubles with each further one.
const FIRST: Duration = Duration::from_millis(200);
/// Longest delay of a tenant. Its other timers wait as long, so it is short.
const TENANT_MOST: Duration = Duration::from_secs(1);
/// Longest delay of a lane, which has no process that decides its commands.
const LANE_MOST: Duration = Duration::from_secs(5);

/// Lanes and tenants that are left out for a while.
#[derive(Default)]
pub(crate) struct RetryDelays {
    lanes: HashMap<LaneId, Delay>,
    tenants: HashMap<TenantId, Delay>,
}

#[derive(Clone, Copy)]
struct Delay {
    last: Duration,
    until: Instant,
}

impl RetryDelays {
    /// Records that a command of a tenant in a lane was not decided now, for this reason.
    pub(crate) fn record_not_now(&mut self, (lane, tenant): (LaneId, TenantId), reason: &NotNow, now: Instant) {
        match reason {
            NotNow::StoreAway
            | NotNow::StoreUnsafe(_)
            | NotNow::ClockOff(_)
            | NotNow::LaneElsewhere
            | NotNow::ShuttingDown => lengthen(&mut self.lanes, lane, LANE_MOST, now),
            NotNow::Overloaded { .. }
            | NotNow::KeyStoreAway
            | NotNow::DeadlinePassed
            | NotNow::NotDue
            | NotNow::NotYet { .. }
            | NotNow::SoldOutForNow { .. } => lengthen(&mut self.tenants, tenant, TENANT_MOST, now),
        }
    }

    /// Records that every command of a run was decided.
    pub(crate) fn record_success(&mut self, lane: LaneId, tenant: TenantId) {
        self.lanes.remove(&lane);
        self.tenants.remove(&tenant);
    }

    /// Lanes and tenants whose delay has not passed. Forgets those whose delay passed long ago.
    pub(crate) fn current(&mut self, now: Instant) -> (BTreeSet<LaneId>, Vec<TenantId>) {
        (current(&mut self.lanes, now).collect(), current(&mut self.tenants, now).collect())
    }
}

fn lengthen<K: Eq + Hash>(all: &mut HashMap<K, Delay>, key: K, most: Duration, now: Instant) {
    let next = all.get(&key).map_or(FIRST, |delay| (delay.last * 2).min(most));
    all.insert(key, Delay { last: next, until: now + next });
}

fn current<K: Eq + Hash + Copy>(all: &mut HashMap<K, Delay>, now: Instant) -> impl Iterator<Item = K> {
    all.retain(|_, delay| delay.until + LANE_MOST > now);
    all.iter().filter(move |(_, delay)| delay.until > now).map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LANE: LaneId = LaneId(3);
    const TENANT: TenantId = TenantId::new(Uuid::from_u128(7));

    #[test]
    fn lane_or_tenant_is_left_out_for_a_growing_and_bounded_time() {
        let (mut delays, mut now) = (RetryDelays::default(), Instant::now());
        for expected in [200, 400, 800, 1_000, 1_000] {
            delays.record_not_now((LANE, TENANT), &NotNow::NotDue, now);
            now += Duration::from_millis(expected - 1);
            assert_eq!(delays.current(now), (BTreeSet::new(), vec![TENANT]), "{expected}");
            now += Duration::from_millis(1);
            assert_eq!(delays.current(now), (BTreeSet::new(), vec![]), "{expected}");
        }
        delays.record_not_now((LANE, TENANT), &NotNow::StoreAway, now);
        assert_eq!(delays.current(now), (BTreeSet::from([LANE]), vec![]));
        delays.record_success(LANE, TENANT);
        assert_eq!(delays.current(now), (BTreeSet::new(), vec![]));
    }
}
