//! A bounded map in memory that forgets what was written long ago.

use std::collections::HashMap;
use std::hash::Hash;

/// Two maps: what was written lately, and what was written before. When the first is full, the second is forgotten and
/// the first takes its place; so it holds at most twice the number it was made for, and at least what was written last.
/// Reading keeps nothing alive.
pub struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    most: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.most && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub fn remove(&mut self, key: &K) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small_and_keeps_what_came_last() {
        let mut recent = Recent::new(10);
        (0..1_000).for_each(|number| recent.insert(number, number));
        assert!(recent.young.len() + recent.old.len() <= 20);
        assert!((991..1_000).all(|number| recent.get(&number) == Some(&number)) && recent.get(&900).is_none());
        recent.remove(&999);
        assert_eq!(recent.get(&999), None);
    }
}
