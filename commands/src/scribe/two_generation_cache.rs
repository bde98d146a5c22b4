//! Two-generation cache: a bounded map that forgets entries not used for long, without a list of last uses.

use std::hash::Hash;

use foldhash::HashMap;

/// Key of a [`TwoGenerationCache`].
pub trait CacheKey: Eq + Hash {
    /// Creation time in milliseconds since 1970, if the key carries one. With it, `get` skips the old generation for
    /// most recent keys, and the cache knows the latest creation time among forgotten keys.
    fn created_at_ms(&self) -> Option<i64> {
        None
    }
}

impl CacheKey for String {}

/// Two maps: entries used since the last rotation (young), and entries last used before it (old). A rotation forgets
/// the old entries and makes the young ones old. An entry that is used at least once per generation stays.
///
/// Two ways of use: [`insert`](Self::insert) counts entries and rotates by itself. With
/// [`insert_weighted`](Self::insert_weighted) entries have any weight, and the owner calls [`rotate`](Self::rotate).
pub struct TwoGenerationCache<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    young_weight: usize,
    young_weight_most: usize,
    generation: u64,
    /// Latest creation time of a young key, as far as keys carry one.
    young_until_ms: i64,
    /// Latest creation time of an old key.
    old_until_ms: i64,
    /// Latest creation time of a forgotten key.
    forgotten_until_ms: i64,
}

impl<K: CacheKey, V> TwoGenerationCache<K, V> {
    /// A cache of about this weight. It always keeps the entries used last, up to half of the weight.
    pub fn new(weight_most: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            young_weight: 0,
            young_weight_most: weight_most.div_ceil(2),
            generation: 0,
            young_until_ms: i64::MIN,
            old_until_ms: i64::MIN,
            forgotten_until_ms: i64::MIN,
        }
    }

    /// Finds a value without marking it as used.
    pub fn get(&self, key: &K) -> Option<&V> {
        // Most keys are too new for the old generation; a look-up there touches cold memory.
        let may_be_old = || key.created_at_ms().is_none_or(|ms| ms <= self.old_until_ms);
        self.young.get(key).or_else(|| may_be_old().then(|| self.old.get(key)).flatten())
    }

    /// Finds a value and marks it as used; see [`promote`](Self::promote).
    pub fn get_mut(&mut self, key: &K, weigh: impl Fn(&V) -> usize) -> Option<&mut V>
    where
        K: Clone,
    {
        self.promote(key, weigh);
        self.young.get_mut(key)
    }

    /// Marks a value as used, if it is present. `weigh` is called when the value moves from the old generation to the
    /// young.
    pub fn promote(&mut self, key: &K, weigh: impl Fn(&V) -> usize)
    where
        K: Clone,
    {
        if !self.young.contains_key(key)
            && let Some(value) = self.old.remove(key)
        {
            let weight = weigh(&value);
            self.insert_weighted(key.clone(), value, weight);
        }
    }

    /// Inserts a value of weight 1. If the young generation is full, rotates first. A replaced young value adds no
    /// weight.
    pub fn insert(&mut self, key: K, value: V) {
        let replaces = self.young.contains_key(&key);
        if !replaces && self.young_weight >= self.young_weight_most {
            self.swap_generations();
            self.young.clear();
        }
        self.insert_weighted(key, value, usize::from(!replaces));
    }

    /// Inserts a value, which hides an old value of the same key. Does not rotate.
    pub fn insert_weighted(&mut self, key: K, value: V, weight: usize) {
        self.young_until_ms = self.young_until_ms.max(key.created_at_ms().unwrap_or(i64::MIN));
        self.young.insert(key, value);
        self.add_weight(weight);
    }

    /// Adds to the weight of the young generation, because a value in it has grown.
    pub fn add_weight(&mut self, weight: usize) {
        self.young_weight = self.young_weight.saturating_add(weight);
    }

    /// Removes an entry of weight 1.
    pub fn remove(&mut self, key: &K) {
        let was_young = self.young.remove(key).is_some();
        self.young_weight = self.young_weight.saturating_sub(usize::from(was_young));
        self.old.remove(key);
    }

    /// Starts a new generation if the young one is overweight: forgets the old entries, except pinned ones.
    pub fn rotate(&mut self, is_pinned: impl Fn(&V) -> bool) {
        if self.young_weight <= self.young_weight_most {
            return;
        }
        self.swap_generations();
        let pinned: Vec<_> = self.young.drain().filter(|(_, value)| is_pinned(value)).collect();
        pinned.into_iter().for_each(|(key, value)| self.insert_weighted(key, value, 0));
    }

    /// Latest creation time of a forgotten key, as far as keys carry one; milliseconds since 1970.
    pub fn forgotten_until_ms(&self) -> i64 {
        self.forgotten_until_ms
    }

    /// Number of the current generation. An entry inserted in generation *n* is still here in generation *n + 1*.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.young.retain(|key, _| keep(key));
        self.old.retain(|key, _| keep(key));
    }

    /// Makes the young generation the old one. The entries to forget are left in the young map, for the caller to
    /// empty: the maps keep their capacity.
    fn swap_generations(&mut self) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young_weight = 0;
        self.generation = self.generation.saturating_add(1);
        self.forgotten_until_ms = self.forgotten_until_ms.max(self.old_until_ms);
        self.old_until_ms = std::mem::replace(&mut self.young_until_ms, i64::MIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl CacheKey for i64 {
        fn created_at_ms(&self) -> Option<i64> {
            Some(*self).filter(|ms| *ms != 0)
        }
    }

    impl CacheKey for u8 {}

    #[test]
    fn used_and_pinned_entries_stay_and_others_are_forgotten() {
        let mut cache = TwoGenerationCache::new(20);
        for key in 0..100_i64 {
            cache.insert_weighted(key, key, 1);
            cache.get_mut(&0, |_| 1);
            if key > 1 {
                cache.promote(&1, |_| 1);
            }
            cache.rotate(|value| *value == 50);
        }
        assert_eq!((cache.get(&0), cache.get(&1)), (Some(&0), Some(&1)));
        assert_eq!(cache.get(&50), Some(&50));
        assert_eq!(cache.get(&2), None);
    }

    #[test]
    fn every_entry_is_found_whatever_its_creation_time_and_newer_keys_than_the_forgotten_are_present() {
        let mut cache = TwoGenerationCache::new(20);
        for key in (1..100_i64).rev().chain(100..200) {
            cache.insert_weighted(key, key, 1);
            cache.rotate(|_| false);
            let present: Vec<_> = (1..200).filter(|key| cache.get(key).is_some()).collect();
            assert_eq!(present.len(), cache.young.len() + cache.old.len());
            assert!(
                (cache.forgotten_until_ms().max(0) + 1..=key).all(|newer| key < 100 || cache.get(&newer).is_some())
            );
        }
    }

    #[test]
    fn counted_inserts_keep_the_most_recent_half() {
        let mut cache = TwoGenerationCache::new(20);
        for number in 0..1_000 {
            cache.insert(format!("key {number}"), number);
            assert!(cache.young.len() + cache.old.len() <= 20);
        }
        assert!((990..1_000).all(|number| cache.get(&format!("key {number}")) == Some(&number)));
        assert_eq!(cache.get(&String::from("key 900")), None);
    }

    #[test]
    fn replaced_and_removed_entries_take_no_space() {
        let mut cache = TwoGenerationCache::new(6);
        cache.insert(1_u8, "first");
        for _ in 0..100 {
            cache.insert(2, "second");
            cache.insert(3, "third");
            cache.remove(&3);
        }
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(&"first"), Some(&"second"), None));
        assert_eq!(cache.generation(), 0);
    }
}
