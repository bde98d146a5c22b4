//! Lanes that the workers of this process are responsible for.

use std::collections::BTreeSet;
use std::time::Duration;

use commands::scribe::LaneId;
use event_log::Tail;
use scribe::ScribeHandle;
use tokio::sync::watch;

/// Interval at which idle workers look for new events, due timers and due effects.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Lanes whose events this process follows, unless a Kafka consumer group assigns them, and whose timers and effects it
/// processes. Timers and effects are stored in PostgreSQL and not in Kafka, so they continue while Kafka is
/// unavailable.
#[derive(Clone)]
pub enum Lanes {
    /// The lanes that the scribe of this process writes.
    Written(ScribeHandle),
    /// A share of the lanes, for a process without a scribe.
    Shared(watch::Receiver<BTreeSet<LaneId>>),
}

impl Lanes {
    /// The lanes at present. They change at every take-over.
    pub fn now(&self) -> BTreeSet<LaneId> {
        match self {
            Self::Written(scribe) => scribe.owned_lanes(),
            Self::Shared(share) => share.borrow().clone(),
        }
    }

    /// Lane numbers at present, for a query.
    pub(crate) fn numbers(&self) -> Vec<i16> {
        self.now().iter().map(|lane| lane.0).collect()
    }

    /// The latest events in memory, if this process writes the lanes.
    pub(crate) fn tail(&self) -> Option<&Tail> {
        match self {
            Self::Written(scribe) => Some(scribe.tail()),
            Self::Shared(_) => None,
        }
    }
}
