//! Query budgets: a token bucket per caller. A query takes its cost; points come back with time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::shared::{Principal, TenantId, Timestamp};

/// Budgets of all callers of this process.
pub(crate) struct QueryBudgets {
    most: u64,
    restored_per_s: u64,
    callers: Mutex<HashMap<(TenantId, Principal), Budget>>,
}

#[derive(Clone, Copy)]
struct Budget {
    left: u64,
    at: Timestamp,
}

/// State of a caller's budget, as clients read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetStatus {
    pub(crate) maximum_available: u64,
    pub(crate) currently_available: u64,
    pub(crate) restore_rate: u64,
}

/// Number of callers from which full budgets are dropped from memory.
const CALLERS_MOST: usize = 10_000;

impl QueryBudgets {
    /// `most` points can be saved up; `restored_per_s` come back each second.
    pub(crate) fn new(most: u32, restored_per_s: u32) -> Self {
        let callers = Mutex::default();
        Self { most: most.into(), restored_per_s: restored_per_s.max(1).into(), callers }
    }

    /// Takes the cost of a query; the error is the number of seconds until the points are available.
    pub(crate) fn take(&self, caller: (TenantId, Principal), cost: u64, now: Timestamp) -> Result<BudgetStatus, u32> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= CALLERS_MOST {
            callers.retain(|_, budget| self.left(*budget, now) < self.most);
        }
        let budget = callers.entry(caller).or_insert(Budget { left: self.most, at: now });
        let left = self.left(*budget, now);
        // A caller with a full budget may run any query, even one that costs more than the budget.
        let Some(rest) = left.checked_sub(cost.min(self.most)) else {
            let seconds = (cost - left).div_ceil(self.restored_per_s);
            return Err(u32::try_from(seconds).unwrap_or(u32::MAX));
        };
        *budget = Budget { left: rest, at: now };
        Ok(self.status(rest))
    }

    /// Returns the difference between the estimated and the actual cost.
    pub(crate) fn give_back(&self, caller: (TenantId, Principal), cost: u64) -> BudgetStatus {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let left = callers.get_mut(&caller).map_or(self.most, |budget| {
            budget.left = budget.left.saturating_add(cost).min(self.most);
            budget.left
        });
        self.status(left)
    }

    fn left(&self, budget: Budget, now: Timestamp) -> u64 {
        let micros = u64::try_from(now.micros().saturating_sub(budget.at.micros())).unwrap_or(0);
        budget.left.saturating_add(micros.saturating_mul(self.restored_per_s) / 1_000_000).min(self.most)
    }

    fn status(&self, left: u64) -> BudgetStatus {
        BudgetStatus { maximum_available: self.most, currently_available: left, restore_rate: self.restored_per_s }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn budget_is_spent_and_restored_with_time() {
        let budgets = QueryBudgets::new(100, 10);
        let caller = (TenantId::new(Uuid::from_u128(1)), Principal::new(Uuid::from_u128(2)));
        let at = |seconds: i64| Timestamp::from_micros(1_763_640_000_000_000 + seconds * 1_000_000);
        let left = |status: Result<BudgetStatus, u32>| status.map(|status| status.currently_available);
        assert_eq!(left(budgets.take(caller, 80, at(0))), Ok(20));
        assert_eq!(left(budgets.take(caller, 50, at(0))), Err(3));
        assert_eq!(left(budgets.take(caller, 50, at(3))), Ok(0));
        assert_eq!(budgets.give_back(caller, 45).currently_available, 45);
        assert_eq!(left(budgets.take(caller, 45, at(0))), Ok(0));
        let other = (caller.0, Principal::new(Uuid::from_u128(3)));
        assert_eq!(left(budgets.take(other, 500, at(0))), Ok(0));
    }
}
