//! Status of the scribe loops, shared with the handle: owned lanes, and reasons for which a loop cannot acknowledge
//! commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use commands::scribe::LaneId;
use event_log::Tail;

use super::durability::StoreCondition;

/// Reason for which a loop cannot acknowledge commands, by the number of the loop.
pub(super) type Problems = Arc<Mutex<BTreeMap<usize, String>>>;

/// Lanes that this process owns, as of the last publication of each loop.
pub(super) type OwnedLanes = Arc<Mutex<BTreeSet<LaneId>>>;

/// One loop's part of the shared status.
pub(super) struct LoopStatus {
    /// Number of the loop.
    pub(super) number: usize,
    /// Lanes that this loop drives while they are assigned to this process.
    pub(super) lanes: Vec<LaneId>,
    pub(super) problems: Problems,
    pub(super) owned: OwnedLanes,
    pub(super) tail: Arc<Tail>,
}

impl LoopStatus {
    /// Publishes the lanes that this loop owns, and its problem if it has one.
    pub(super) fn publish(&self, owned: BTreeSet<LaneId>, assigned: &BTreeSet<LaneId>, condition: &StoreCondition) {
        let (count, expected) = (owned.len(), self.lanes.iter().filter(|lane| assigned.contains(lane)).count());
        if let Ok(mut all) = self.owned.lock() {
            all.retain(|lane| !self.lanes.contains(lane));
            all.extend(owned);
        }
        let problem = match condition {
            StoreCondition::Unsafe(reason) => Some(format!("the store is not safe to write to: {reason}")),
            StoreCondition::Unavailable => Some("the store cannot be reached".to_owned()),
            StoreCondition::ClockOff(_) => Some("writes no lanes while its clock is off".to_owned()),
            StoreCondition::Safe if count < expected => Some(format!("owns {count} of its {expected} lanes")),
            StoreCondition::Safe => None,
        };
        if let Ok(mut problems) = self.problems.lock() {
            match problem {
                Some(problem) => _ = problems.insert(self.number, problem),
                None => _ = problems.remove(&self.number),
            }
        }
    }
}
