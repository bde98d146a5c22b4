//! Limits of the scribe.

/// Limits of one scribe. The defaults fit a laptop.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Undecided commands; further commands of clients are answered `OVERLOADED`, those of the engine are taken.
    pub queue_commands_most: usize,
    /// Commands decided into one batch. Larger batches add latency and no throughput.
    pub batch_commands_most: usize,
    /// Bytes of events after which a batch takes no further command.
    pub batch_bytes_most: usize,
    /// Loads of streams that a command may cause during its decision, because its hint did not name them.
    pub rounds_most: u8,
    /// Estimated bytes of states kept in memory.
    pub state_bytes_most: usize,
    /// Receipts kept in memory.
    pub receipts_most: usize,
    /// Seconds by which a client's clock may be ahead of ours; ids created later are refused.
    pub clock_ahead_s_most: i64,
}

/// Part of a batch that one tenant can fill while others send commands too.
const TENANT_SHARE: usize = 8;

impl Limits {
    /// Commands of one tenant in a batch while others send commands too.
    pub(super) fn tenant_commands_most(&self) -> usize {
        self.batch_commands_most.checked_div(TENANT_SHARE).unwrap_or(1).max(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_commands_most: 20_000,
            batch_commands_most: 2_000,
            batch_bytes_most: 4 * 1024 * 1024,
            rounds_most: 4,
            state_bytes_most: 96 * 1024 * 1024,
            receipts_most: 100_000,
            clock_ahead_s_most: 10,
        }
    }
}
