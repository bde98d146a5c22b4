//! Holds: parts set aside for somebody until they are confirmed, released, committed or their time has passed.
//!
//! One mechanism for everything that can run out: stock, coupons, gift cards, points (design 4.2).
//! Invariant: the sum of all open holds is known without counting them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The open holds of one stream, by the id of whoever holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    from = "BTreeMap<Id, Hold>",
    into = "BTreeMap<Id, Hold>",
    bound(serialize = "Id: Ord + Clone + Serialize", deserialize = "Id: Ord + Copy + Deserialize<'de>")
)]
pub struct Holds<Id> {
    open: BTreeMap<Id, Hold>,
    /// The holds that can pass, soonest first, so that a decision looks only at those that have.
    by_time: BTreeMap<(Timestamp, Id), i64>,
    total: i64,
}

/// One part set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub units: i64,
    /// When it passes by itself; never, once it is confirmed.
    pub until: Option<Timestamp>,
}

impl<Id> Default for Holds<Id> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), by_time: BTreeMap::new(), total: 0 }
    }
}

impl<Id: Ord + Copy> Holds<Id> {
    /// Everything that is set aside, passed holds included.
    pub fn total(&self) -> i64 {
        self.total
    }

    pub fn len(&self) -> usize {
        self.open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub fn get(&self, id: Id) -> Option<Hold> {
        self.open.get(&id).copied()
    }

    /// The holds whose time has passed, soonest first.
    pub fn passed(&self, now: Timestamp) -> impl Iterator<Item = (Id, i64)> {
        self.by_time.iter().take_while(move |((until, _), _)| *until <= now).map(|((_, id), units)| (*id, *units))
    }

    /// Whether this hold still counts at this time.
    pub fn counts(&self, id: Id, now: Timestamp) -> bool {
        self.get(id).is_some_and(|hold| hold.until.is_none_or(|until| until > now))
    }

    pub fn set_aside(&mut self, id: Id, units: i64, until: Option<Timestamp>) {
        self.end(id);
        self.open.insert(id, Hold { units, until });
        self.total = self.total.saturating_add(units);
        if let Some(until) = until {
            self.by_time.insert((until, id), units);
        }
    }

    /// From now on it does not pass by itself.
    pub fn confirm(&mut self, id: Id) {
        if let Some(hold) = self.open.get_mut(&id)
            && let Some(until) = hold.until.take()
        {
            self.by_time.remove(&(until, id));
        }
    }

    /// It is over, whichever way.
    pub fn end(&mut self, id: Id) {
        if let Some(hold) = self.open.remove(&id) {
            self.total = self.total.saturating_sub(hold.units);
            if let Some(until) = hold.until {
                self.by_time.remove(&(until, id));
            }
        }
    }
}

impl<Id: Ord + Copy> From<BTreeMap<Id, Hold>> for Holds<Id> {
    fn from(open: BTreeMap<Id, Hold>) -> Self {
        let mut holds = Self::default();
        for (id, hold) in open {
            holds.set_aside(id, hold.units, hold.until);
        }
        holds
    }
}

impl<Id> From<Holds<Id>> for BTreeMap<Id, Hold> {
    fn from(holds: Holds<Id>) -> Self {
        holds.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values::at;

    #[test]
    fn the_sum_follows_every_change() {
        let soon = at(10);
        let mut holds = Holds::<u8>::default();
        holds.set_aside(1, 5, Some(soon));
        holds.set_aside(2, 3, Some(at(20)));
        holds.set_aside(1, 4, Some(soon));
        assert_eq!((holds.total(), holds.len()), (7, 2));
        assert_eq!(holds.passed(soon).collect::<Vec<_>>(), [(1, 4)]);
        assert!(!holds.counts(1, soon) && holds.counts(2, soon));
        holds.confirm(1);
        assert_eq!(holds.passed(soon).count(), 0);
        assert!(holds.counts(1, soon));
        holds.end(1);
        holds.end(1);
        assert_eq!(holds.total(), 3);
    }

    #[test]
    fn a_stored_state_reads_back_whole() {
        let mut holds = Holds::<u8>::default();
        holds.set_aside(1, 5, Some(at(10)));
        holds.set_aside(2, 1, None);
        let text = serde_json::to_string(&holds).expect("JSON");
        assert_eq!(serde_json::from_str::<Holds<u8>>(&text).expect("JSON"), holds);
    }
}
