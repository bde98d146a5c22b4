//! The receipts of the latest commands, so that most repeats are answered from memory.

use compact_str::CompactString;

use super::answer::Settled;
use super::generations::Generations;
use super::ids::{BatchId, ReceiptKey};

pub(super) struct Receipts {
    memory: Generations<ReceiptKey, Remembered>,
}

/// What became of a command.
pub(super) struct Remembered {
    pub(super) fingerprint: CompactString,
    pub(super) settled: Settled,
    /// The batch it was decided in; the answer may be given once that batch is durable.
    pub(super) batch: BatchId,
}

impl Receipts {
    pub(super) fn new(most: usize) -> Self {
        Self { memory: Generations::new(most) }
    }

    pub(super) fn get(&self, key: &ReceiptKey) -> Option<&Remembered> {
        self.memory.get(key)
    }

    pub(super) fn insert(&mut self, key: ReceiptKey, remembered: Remembered) {
        self.memory.insert(key, remembered, 1);
    }

    /// Forgets the oldest ones when there are too many; never one whose batch has no outcome yet.
    pub(super) fn turn(&mut self, settled: BatchId) {
        self.memory.turn(|remembered| remembered.batch > settled);
    }

    /// Receipts of ids made up to this moment may have been forgotten; milliseconds since 1970.
    pub(super) fn forgotten_until_ms(&self) -> i64 {
        self.memory.forgotten_until_ms()
    }

    /// Whether a look-up made in that turn still says the truth: what was decided since is surely in memory.
    pub(super) fn covers(&self, turn: u64) -> bool {
        self.memory.turns() <= turn.saturating_add(1)
    }

    pub(super) fn turns(&self) -> u64 {
        self.memory.turns()
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&ReceiptKey) -> bool) {
        self.memory.retain(keep);
    }
}
