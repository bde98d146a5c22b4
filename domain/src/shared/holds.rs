//! Holds: units set aside for a limited time, such as the reservations of a stock item. A hold is open from its start
//! until it is closed; a confirmed hold does not expire.
//!
//! Invariant: `total` is the sum of all open holds, so that no decision has to add them up.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OrderId, Timestamp};

/// Open holds of one stream, by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    from = "BTreeMap<Id, Hold>",
    into = "BTreeMap<Id, Hold>",
    bound(serialize = "Id: Ord + Clone + Serialize", deserialize = "Id: Ord + Copy + Deserialize<'de>")
)]
pub struct Holds<Id> {
    open: BTreeMap<Id, Hold>,
    /// Units of the holds that can expire, soonest first, so that a decision reads only the expired ones.
    by_time: BTreeMap<(Timestamp, Id), i64>,
    total: i64,
}

/// One open hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub units: i64,
    /// Time of expiry; none once the hold is confirmed.
    pub until: Option<Timestamp>,
    /// Sequence number of the hold: the holds of a stream are numbered as they are opened.
    #[serde(default)]
    pub number: u64,
    /// Holder of the units; none if the event that opened the hold did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
}

/// Party for which units are set aside. Only this party changes the hold, except that the engine records its expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// Sender of `ReserveStock`: a member of the team or another system.
    Hand,
    /// An order.
    Order(OrderId),
}

impl<Id> Default for Holds<Id> {
    fn default() -> Self {
        Self { open: BTreeMap::new(), by_time: BTreeMap::new(), total: 0 }
    }
}

impl<Id: Ord + Copy> Holds<Id> {
    /// Units of all open holds, including expired ones that are not closed yet.
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

    /// All open holds: confirmed ones first, then the others, each in the order in which they were opened.
    pub fn by_precedence(&self) -> Vec<Hold> {
        let mut holds: Vec<_> = self.open.values().copied().collect();
        holds.sort_by_key(|hold| (hold.until.is_some(), hold.number));
        holds
    }

    /// Open holds that have expired, with their units, soonest first.
    pub fn expired(&self, now: Timestamp) -> impl Iterator<Item = (Id, i64)> {
        self.by_time.iter().take_while(move |((until, _), _)| *until <= now).map(|((_, id), units)| (*id, *units))
    }

    /// True if the hold is open and has not expired.
    pub fn is_active(&self, id: Id, now: Timestamp) -> bool {
        self.get(id).is_some_and(|hold| hold.until.is_none_or(|until| until > now))
    }

    /// Opens a hold, or replaces the open hold of the same id.
    pub fn open(&mut self, id: Id, hold: Hold) {
        let Hold { units, until, .. } = hold;
        self.close(id);
        self.open.insert(id, hold);
        self.total = self.total.saturating_add(units);
        if let Some(until) = until {
            self.by_time.insert((until, id), units);
        }
    }

    /// Removes the time of expiry of an open hold.
    pub fn confirm(&mut self, id: Id) {
        if let Some(hold) = self.open.get_mut(&id)
            && let Some(until) = hold.until.take()
        {
            self.by_time.remove(&(until, id));
        }
    }

    /// Removes a hold that was released or committed, or whose expiry was recorded.
    pub fn close(&mut self, id: Id) {
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
            holds.open(id, hold);
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

    fn hold(units: i64, until: Option<Timestamp>) -> Hold {
        Hold { units, until, number: 0, holder: Some(Holder::Hand) }
    }

    #[test]
    fn total_follows_every_change() {
        let soon = at(10);
        let mut holds = Holds::<u8>::default();
        holds.open(1, hold(5, Some(soon)));
        holds.open(2, hold(3, Some(at(20))));
        holds.open(1, hold(4, Some(soon)));
        assert_eq!((holds.total(), holds.len()), (7, 2));
        assert_eq!(holds.expired(soon).collect::<Vec<_>>(), [(1, 4)]);
        assert!(!holds.is_active(1, soon) && holds.is_active(2, soon));
        holds.confirm(1);
        assert_eq!(holds.expired(soon).count(), 0);
        assert!(holds.is_active(1, soon));
        holds.close(1);
        holds.close(1);
        assert_eq!(holds.total(), 3);
    }

    #[test]
    fn confirmed_holds_precede_earlier_ones_that_can_expire() {
        let mut holds = Holds::<u8>::default();
        for number in 1..=3 {
            holds.open(number, Hold { number: number.into(), ..hold(1, Some(at(10))) });
        }
        holds.confirm(3);
        assert_eq!(holds.by_precedence().iter().map(|hold| hold.number).collect::<Vec<_>>(), [3, 1, 2]);
    }

    #[test]
    fn stored_holds_are_restored_completely() {
        let mut holds = Holds::<u8>::default();
        holds.open(1, hold(5, Some(at(10))));
        holds.open(2, Hold { holder: None, ..hold(1, None) });
        let text = serde_json::to_string(&holds).expect("JSON");
        assert_eq!(serde_json::from_str::<Holds<u8>>(&text).expect("JSON"), holds);
    }
}
