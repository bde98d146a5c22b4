//! A bounded map that forgets what was not used for long, without lists of who was used when.

use std::hash::Hash;

use foldhash::HashMap;

/// Two maps: what was used lately, and what was used before. When the first is full, the second is forgotten and
/// the first takes its place; so what is used at least once per turn stays.
pub(super) struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    weight: usize,
    weight_most: usize,
    turn: u64,
}

impl<K: Eq + Hash + Clone, V> Generations<K, V> {
    /// Keeps about this much weight, of which half is surely kept.
    pub(super) fn new(weight_most: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            weight: 0,
            weight_most: weight_most.div_ceil(2),
            turn: 0,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Finds a value and marks it as used.
    pub(super) fn get_mut(&mut self, key: &K, weigh: impl Fn(&V) -> usize) -> Option<&mut V> {
        if let Some(value) = self.old.remove(key) {
            self.weight = self.weight.saturating_add(weigh(&value));
            self.young.insert(key.clone(), value);
        }
        self.young.get_mut(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.old.remove(&key);
        self.young.insert(key, value);
        self.grow(weight);
    }

    /// Something in here became heavier.
    pub(super) fn grow(&mut self, weight: usize) {
        self.weight = self.weight.saturating_add(weight);
    }

    /// Starts a new turn if this one is full. What must stay, stays; everything else that was not used is shown to
    /// `forgotten`.
    pub(super) fn turn(&mut self, must_stay: impl Fn(&V) -> bool, mut forgotten: impl FnMut(&K)) {
        if self.weight <= self.weight_most {
            return;
        }
        // The maps change places, so that neither has to grow again to the size it had.
        std::mem::swap(&mut self.young, &mut self.old);
        self.weight = 0;
        self.turn = self.turn.saturating_add(1);
        let mut stay = Vec::new();
        for (key, value) in self.young.drain() {
            if must_stay(&value) {
                stay.push((key, value));
            } else {
                forgotten(&key);
            }
        }
        self.young.extend(stay);
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

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut map = Generations::new(20);
        let mut gone = vec![];
        for key in 0..100 {
            map.insert(key, key, 1);
            map.get_mut(&0, |_| 1);
            map.turn(|value| *value == 50, |key| gone.push(*key));
        }
        assert_eq!(map.get(&0), Some(&0));
        assert_eq!(map.get(&50), Some(&50));
        assert_eq!(map.get(&1), None);
        assert!(gone.contains(&1) && !gone.contains(&0) && !gone.contains(&50));
    }
}
