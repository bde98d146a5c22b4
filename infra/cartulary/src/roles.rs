//! Roles of a process.

/// Roles of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Serves the API.
    pub front: bool,
    /// Writes lanes.
    pub scribe: bool,
    /// Keeps read models up to date.
    pub reads: bool,
    /// Runs policies, timers and effects.
    pub policies: bool,
    /// Copies the log to Kafka.
    pub relay: bool,
    /// No other process shares the lanes, so presence is not announced.
    pub alone: bool,
}

impl Roles {
    /// Every role but the relay, in one process that shares the lanes with no other.
    pub const ALONE: Self = Self { alone: true, ..Self::ALL };
    /// Every role but the relay, beside other processes.
    pub const ALL: Self = Self { front: true, scribe: true, reads: true, policies: true, relay: false, alone: false };
}
