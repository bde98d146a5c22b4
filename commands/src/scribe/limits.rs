//! Every bound of the scribe, by name.

/// How much of everything a scribe takes. All of it can be configured; the defaults fit a laptop.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Commands that may wait; beyond it callers are told to come back later.
    pub queue_commands_most: usize,
    /// Commands decided into one batch. Larger batches gain nothing more and delay everybody in them.
    pub batch_commands_most: usize,
    /// Bytes of events in one batch.
    pub batch_bytes_most: usize,
    /// How often a command may ask for streams it had not named before.
    pub rounds_most: u8,
    /// Estimated bytes of states kept in memory.
    pub state_bytes_most: usize,
    /// Receipts kept in memory.
    pub receipts_most: usize,
    /// How far ahead of our clock a client's clock may be; ids that claim to be made later are refused.
    pub clock_ahead_s_most: i64,
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
