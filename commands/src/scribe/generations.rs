//! A bounded map that forgets what was not used for long, without lists of who was used when.

use std::hash::Hash;

use foldhash::HashMap;
use uuid::Uuid;

/// A key that may tell when it was made.
pub(super) trait Dated {
    /// Milliseconds since 1970.
    fn made_at_ms(&self) -> Option<i64>;
}

/// When a UUIDv7 was made, in milliseconds since 1970; other versions do not say.
pub(super) fn made_at_ms(id: Uuid) -> Option<i64> {
    let made = (id.get_version_num() == 7).then(|| id.as_u128().wrapping_shr(80));
    made.and_then(|ms| i64::try_from(ms).ok())
}

/// Two maps: what was used lately, and what was used before. When the first is full, the second is forgotten and
/// the first takes its place; so what is used at least once per turn stays.
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    weight: usize,
    weight_most: usize,
    turn: u64,
    /// No key in the map, or that was forgotten, was made later; as far as keys tell.
    young_until_ms: i64,
    old_until_ms: i64,
    forgotten_until_ms: i64,
}

impl<K: Dated + Eq + Hash + Clone, V> Generations<K, V> {
    /// Keeps about this much weight, of which half is surely kept.
    pub(super) fn new(weight_most: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            weight: 0,
            weight_most: weight_most.div_ceil(2),
            turn: 0,
            young_until_ms: i64::MIN,
            old_until_ms: i64::MIN,
            forgotten_until_ms: i64::MIN,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        // Most keys that are asked for are too new for the other map; a look into it is one into cold memory.
        let may_be_old = || key.made_at_ms().is_none_or(|ms| ms <= self.old_until_ms);
        self.young.get(key).or_else(|| may_be_old().then(|| self.old.get(key)).flatten())
    }

    /// Finds a value and marks it as used.
    pub(super) fn get_mut(&mut self, key: &K, weigh: impl Fn(&V) -> usize) -> Option<&mut V> {
        if !self.young.contains_key(key) {
            let value = self.old.remove(key)?;
            let weight = weigh(&value);
            self.insert(key.clone(), value, weight);
        }
        self.young.get_mut(key)
    }

    /// What an older value of the key says does not count from now on, wherever it lies.
    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.young_until_ms = self.young_until_ms.max(key.made_at_ms().unwrap_or(i64::MIN));
        self.young.insert(key, value);
        self.grow(weight);
    }

    /// Something in here became heavier.
    pub(super) fn grow(&mut self, weight: usize) {
        self.weight = self.weight.saturating_add(weight);
    }

    /// Starts a new turn if this one is full. What must stay, stays; everything else that was not used is forgotten.
    pub(super) fn turn(&mut self, must_stay: impl Fn(&V) -> bool) {
        if self.weight <= self.weight_most {
            return;
        }
        // The maps change places, so that neither has to grow again to the size it had.
        std::mem::swap(&mut self.young, &mut self.old);
        self.weight = 0;
        self.turn = self.turn.saturating_add(1);
        self.forgotten_until_ms = self.forgotten_until_ms.max(self.old_until_ms);
        self.old_until_ms = std::mem::replace(&mut self.young_until_ms, i64::MIN);
        let stay: Vec<_> = self.young.drain().filter(|(_, value)| must_stay(value)).collect();
        stay.into_iter().for_each(|(key, value)| self.insert(key, value, 0));
    }

    /// No key that was forgotten was made later, as far as keys tell; milliseconds since 1970.
    pub(super) fn forgotten_until_ms(&self) -> i64 {
        self.forgotten_until_ms
    }

    /// How many turns have passed. What was inserted in turn *n* is surely still here in turn *n + 1*.
    pub(super) fn turns(&self) -> u64 {
        self.turn
    }

    pub(super) fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.young.retain(|key, _| keep(key));
        self.old.retain(|key, _| keep(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Dated for i64 {
        fn made_at_ms(&self) -> Option<i64> {
            Some(*self).filter(|ms| *ms != 0)
        }
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut map = Generations::new(20);
        for key in 0..100 {
            map.insert(key, key, 1);
            map.get_mut(&0, |_| 1);
            map.turn(|value| *value == 50);
        }
        assert_eq!(map.get(&0), Some(&0));
        assert_eq!(map.get(&50), Some(&50));
        assert_eq!(map.get(&1), None);
    }

    #[test]
    fn what_is_here_is_found_however_old_it_says_it_is_and_what_is_gone_is_known_to_be() {
        let mut map = Generations::new(20);
        for key in (1..100).rev().chain(100..200) {
            map.insert(key, key, 1);
            map.turn(|_| false);
            let here: Vec<_> = (1..200).filter(|key| map.get(key).is_some()).collect();
            assert_eq!(here.len(), map.young.len() + map.old.len());
            assert!((map.forgotten_until_ms().max(0) + 1..=key).all(|newer| key < 100 || map.get(&newer).is_some()));
        }
    }
}
