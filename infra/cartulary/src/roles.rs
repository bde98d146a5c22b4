//! Roles of a process, named as in the command line.

/// Roles of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Serves the API.
    pub serve: bool,
    /// Decides commands and writes lanes.
    pub scribe: bool,
    /// Keeps read models up to date.
    pub project: bool,
    /// Runs policies, timers, effects and webhooks.
    pub policies: bool,
    /// Copies the log to Kafka.
    pub relay: bool,
    /// No other process shares the lanes: this one works on all of them and announces no presence.
    pub alone: bool,
}

impl Roles {
    /// Every role but the relay, in the only process of the installation.
    pub const ALONE: Self = Self { alone: true, ..Self::ALL };
    /// Every role but the relay, beside other processes.
    pub const ALL: Self = Self { serve: true, scribe: true, project: true, policies: true, relay: false, alone: false };
}
