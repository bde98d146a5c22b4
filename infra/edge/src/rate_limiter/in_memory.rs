//! Counts of this process.

use std::sync::{Mutex, PoisonError};

use commands::scribe::TwoGenerationCache;
use platform::clock::now;

use super::bucket::Bucket;
use super::{Counted, Rule};

/// Number of callers and tenants that are counted at a time. Above it, one that has sent nothing for long starts again
/// with an empty bucket; the 50,000 most recent ones keep theirs.
const COUNTS_MOST: usize = 100_000;

/// Time at which each bucket is empty, by the name of its rule. The hasher of the cache is seeded at random, so callers
/// cannot choose names that collide.
pub(super) struct InMemory(Mutex<TwoGenerationCache<String, i64>>);

impl Default for InMemory {
    fn default() -> Self {
        Self(Mutex::new(TwoGenerationCache::new(COUNTS_MOST)))
    }
}

impl InMemory {
    /// Grants and counts as many of the wanted commands as all rules permit.
    pub(super) fn take(&self, rules: &[Rule], wanted: u32, now: i64) -> Counted {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before: Vec<_> = rules.iter().map(|rule| bucket(&counts, rule, now)).collect();
        let left = rules.iter().zip(&before).map(|(rule, bucket)| bucket.left(rule.quota));
        let granted = left.min().unwrap_or(wanted).min(wanted);
        let mut buckets = Vec::with_capacity(rules.len());
        for (rule, bucket) in rules.iter().zip(before) {
            let bucket = bucket.with(granted.into(), rule.quota);
            counts.insert(rule.name.clone(), now.saturating_add(bucket.until_empty()));
            buckets.push(bucket);
        }
        Counted { granted, buckets }
    }

    /// Takes back commands that were counted here and not granted in the end.
    pub(super) fn give_back(&self, rules: &[Rule], commands: u32) {
        if commands == 0 {
            return;
        }
        let (mut counts, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), now().micros());
        for rule in rules {
            let bucket = bucket(&counts, rule, now).with(-i64::from(commands), rule.quota);
            counts.insert(rule.name.clone(), now.saturating_add(bucket.until_empty()));
        }
    }
}

fn bucket(counts: &TwoGenerationCache<String, i64>, rule: &Rule, now: i64) -> Bucket {
    Bucket::emptied_at(counts.get(&rule.name).copied().unwrap_or(now), now, rule.quota)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(policy: &'static str, quota: u32) -> Rule {
        Rule { policy, name: policy.into(), quota }
    }

    #[test]
    fn the_lowest_limit_decides_and_every_limit_counts() {
        let (counts, both) = (InMemory::default(), [rule("customer", 600), rule("tenant", 50)]);
        let now = now().micros();
        assert_eq!(counts.take(&both, 1_000, now).granted, 10);
        assert_eq!(counts.take(&both, 1, now).granted, 0);
        assert_eq!(counts.take(&both[..1], 1_000, now).granted, 110);
        counts.give_back(&both, 4);
        let again = counts.take(&both, 1_000, now).granted;
        assert!((4..=5).contains(&again), "{again}");
    }
}
