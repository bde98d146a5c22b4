//! Cache of recent receipts; answers most repeated commands from memory.

use compact_str::CompactString;

use super::answer::Settled;
use super::ids::{BatchId, ReceiptKey};
use super::two_generation_cache::TwoGenerationCache;

pub(super) struct ReceiptCache {
    cache: TwoGenerationCache<ReceiptKey, CachedReceipt>,
}

/// The decision of a command and the digest of its body, as the store has them.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredReceipt {
    pub fingerprint: CompactString,
    pub settled: Settled,
}

pub(super) struct CachedReceipt {
    pub(super) fingerprint: CompactString,
    pub(super) settled: Settled,
    /// The batch of the decision; the answer may be given once that batch is durable.
    pub(super) batch: BatchId,
}

impl From<StoredReceipt> for CachedReceipt {
    fn from(StoredReceipt { fingerprint, settled }: StoredReceipt) -> Self {
        Self { fingerprint, settled, batch: BatchId::BEFORE_FIRST }
    }
}

impl ReceiptCache {
    pub(super) fn new(receipts_most: usize) -> Self {
        Self { cache: TwoGenerationCache::new(receipts_most) }
    }

    pub(super) fn get(&self, key: &ReceiptKey) -> Option<&CachedReceipt> {
        self.cache.get(key)
    }

    pub(super) fn insert(&mut self, key: ReceiptKey, receipt: CachedReceipt) {
        self.cache.insert_weighted(key, receipt, 1);
    }

    /// Forgets the oldest receipts if there are too many, except those of batches after the last finished one.
    pub(super) fn rotate(&mut self, last_finished: BatchId) {
        self.cache.rotate(|receipt| receipt.batch > last_finished);
    }

    /// Receipts of ids created up to this moment may have been forgotten; milliseconds since 1970.
    pub(super) fn forgotten_until_ms(&self) -> i64 {
        self.cache.forgotten_until_ms()
    }

    pub(super) fn generation(&self) -> u64 {
        self.cache.generation()
    }

    /// True if every receipt added since that generation is still in memory. If the store had no receipt of a command
    /// then, it has none now that is not in memory.
    pub(super) fn is_complete_since(&self, generation: u64) -> bool {
        self.cache.generation() <= generation.saturating_add(1)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&ReceiptKey) -> bool) {
        self.cache.retain(keep);
    }
}
