//! Counts of this process.

use std::sync::{Mutex, PoisonError};

use super::bucket::Bucket;
use super::{Counted, Rule};
use platform::clock::now;
use platform::recent::Recent;

/// Callers whose counts are remembered; beyond twice as many, who was not there for long begins anew.
const CALLERS_MOST: usize = 50_000;

/// When each bucket would be empty, by name.
pub(super) struct InMemory(Mutex<Recent<String, i64>>);

impl Default for InMemory {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(CALLERS_MOST)))
    }
}

impl InMemory {
    /// Counts as many of the wanted commands as every rule lets through.
    pub(super) fn take(&self, rules: &[Rule], wanted: u32, now: i64) -> Counted {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let emptied_at = |rule: &Rule, kept: &Recent<String, i64>| kept.get(&rule.name).copied().unwrap_or(now);
        let before: Vec<_> =
            rules.iter().map(|rule| Bucket::emptied_at(emptied_at(rule, &kept), now, rule.quota)).collect();
        let left = rules.iter().zip(&before).map(|(rule, bucket)| bucket.left(rule.quota));
        let granted = left.min().unwrap_or(wanted).min(wanted);
        let mut buckets = Vec::with_capacity(rules.len());
        for (rule, bucket) in rules.iter().zip(before) {
            let bucket = bucket.with(granted.into(), rule.quota);
            kept.insert(rule.name.clone(), now.saturating_add(bucket.until_empty()));
            buckets.push(bucket);
        }
        Counted { granted, buckets }
    }

    /// Takes back what was counted here and granted by nobody.
    pub(super) fn give_back(&self, rules: &[Rule], commands: u32) {
        if commands == 0 {
            return;
        }
        let (mut kept, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), now().micros());
        for rule in rules {
            let emptied_at = kept.get(&rule.name).copied().unwrap_or(now);
            let bucket = Bucket::emptied_at(emptied_at, now, rule.quota).with(-i64::from(commands), rule.quota);
            kept.insert(rule.name.clone(), now.saturating_add(bucket.until_empty()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(policy: &'static str, quota: u32) -> Rule {
        Rule { policy, name: policy.into(), quota }
    }

    #[test]
    fn the_narrowest_rule_decides_and_all_of_them_count() {
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
