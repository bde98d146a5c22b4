//! How much each caller may ask for: saved-up points that come back with time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::shared::{Principal, TenantId, Timestamp};

/// Budgets of all callers of this process.
pub(crate) struct Budgets {
    most: u64,
    restored_per_s: u64,
    callers: Mutex<HashMap<(TenantId, Principal), Budget>>,
}

#[derive(Clone, Copy)]
struct Budget {
    left: u64,
    at: Timestamp,
}

/// Where a caller stands, as clients read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) maximum_available: u64,
    pub(crate) currently_available: u64,
    pub(crate) restore_rate: u64,
}

/// Beyond this many callers, those with nothing spent are forgotten.
const CALLERS_MOST: usize = 10_000;

impl Budgets {
    pub(crate) fn new(most: u32, restored_per_s: u32) -> Self {
        let callers = Mutex::default();
        Self { most: most.into(), restored_per_s: restored_per_s.max(1).into(), callers }
    }

    /// Takes the cost, or says in how many seconds it would be there.
    pub(crate) fn take(&self, caller: (TenantId, Principal), cost: u64, now: Timestamp) -> Result<Standing, u32> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS_MOST {
            callers.retain(|_, budget| self.left(*budget, now) < self.most);
        }
        let budget = callers.entry(caller).or_insert(Budget { left: self.most, at: now });
        let left = self.left(*budget, now);
        // Whoever has all that can be saved up may ask, however dear the question.
        let Some(rest) = left.checked_sub(cost.min(self.most)) else {
            let seconds = (cost - left).div_ceil(self.restored_per_s);
            return Err(u32::try_from(seconds).unwrap_or(u32::MAX));
        };
        *budget = Budget { left: rest, at: now };
        Ok(self.standing(rest))
    }

    /// Gives back what a question turned out not to cost.
    pub(crate) fn give_back(&self, caller: (TenantId, Principal), cost: u64) -> Standing {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let left = callers.get_mut(&caller).map_or(self.most, |budget| {
            budget.left = budget.left.saturating_add(cost).min(self.most);
            budget.left
        });
        self.standing(left)
    }

    fn left(&self, budget: Budget, now: Timestamp) -> u64 {
        let micros = u64::try_from(now.micros().saturating_sub(budget.at.micros())).unwrap_or(0);
        budget.left.saturating_add(micros.saturating_mul(self.restored_per_s) / 1_000_000).min(self.most)
    }

    fn standing(&self, left: u64) -> Standing {
        Standing { maximum_available: self.most, currently_available: left, restore_rate: self.restored_per_s }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_budget_is_spent_and_comes_back() {
        let budgets = Budgets::new(100, 10);
        let caller = (TenantId::new(Uuid::from_u128(1)), Principal::new(Uuid::from_u128(2)));
        let at = |seconds: i64| Timestamp::from_micros(1_763_640_000_000_000 + seconds * 1_000_000);
        let left = |standing: Result<Standing, u32>| standing.map(|standing| standing.currently_available);
        assert_eq!(left(budgets.take(caller, 80, at(0))), Ok(20));
        assert_eq!(left(budgets.take(caller, 50, at(0))), Err(3));
        assert_eq!(left(budgets.take(caller, 50, at(3))), Ok(0));
        assert_eq!(budgets.give_back(caller, 45).currently_available, 45);
        assert_eq!(left(budgets.take(caller, 45, at(0))), Ok(0));
        let other = (caller.0, Principal::new(Uuid::from_u128(3)));
        assert_eq!(left(budgets.take(other, 500, at(0))), Ok(0));
    }
}
