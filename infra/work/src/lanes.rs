//! Lanes for which this process runs policies, timers, effects and webhooks.

use std::collections::BTreeSet;
use std::time::Duration;

use commands::scribe::LaneId;
use event_log::Tail;
use scribe::ScribeHandle;
use tokio::sync::watch;

/// Interval at which new events, due timers and due effects are looked for while there are none.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Lanes whose timers and effects this process executes, and whose events its policies react to. With Kafka the
/// consumer group assigns the lanes of the policies instead; timers and effects, which are stored in PostgreSQL, do not
/// depend on Kafka.
#[derive(Clone)]
pub enum Lanes {
    /// The lanes that the scribe of this process writes.
    Written(ScribeHandle),
    /// The lanes assigned to a process without a scribe.
    Assigned(watch::Receiver<BTreeSet<LaneId>>),
}

impl Lanes {
    /// The lanes at present. They change when a lane is taken over or assigned to another process.
    pub fn current(&self) -> BTreeSet<LaneId> {
        match self {
            Self::Written(scribe) => scribe.owned_lanes(),
            Self::Assigned(lanes) => lanes.borrow().clone(),
        }
    }

    /// The tail of the lanes, if this process writes them.
    pub(crate) fn tail(&self) -> Option<&Tail> {
        match self {
            Self::Written(scribe) => Some(scribe.tail()),
            Self::Assigned(_) => None,
        }
    }
}
