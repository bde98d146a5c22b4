//! Settings of the scribe loops of one process.

use std::collections::BTreeSet;
use std::path::PathBuf;

use commands::kernel::StateRegistry;
use commands::scribe::{LaneId, Limits};
use platform::clock_monitor::ClockMonitor;
use tokio::sync::watch;

/// Settings of the scribe loops of one process.
#[derive(Clone, Debug)]
pub struct ScribeSettings {
    /// Connection URL of the PostgreSQL server that stores the log.
    pub url: String,
    pub owner: Owner,
    pub limits: Limits,
    /// Aggregate types whose streams are decided.
    pub states: StateRegistry,
    /// Number of loops, at most one per lane. Lane *i* is driven by loop *i* modulo this number.
    pub loops: usize,
    /// Lanes assigned to this process. Changes as processes of the role join and leave.
    pub assigned_lanes: watch::Receiver<BTreeSet<LaneId>>,
    /// Data folder of the log's server, if it is on this machine: commands are refused while its disk is nearly full.
    pub data: Option<PathBuf>,
    /// Clock of the decisions, and its comparison with the database's.
    pub clock: ClockMonitor,
}

/// Identity of a process as the owner of lanes.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Name that survives restarts, so that the process need not wait for its own lease.
    pub name: String,
    /// Time after the last renewal during which other processes do not take a lane over. Affects speed, not safety.
    pub lease_ms: i64,
    /// Address for forwarded commands, as `host:port`; empty if the process accepts none.
    pub address: String,
}
