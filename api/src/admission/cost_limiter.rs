//! Query cost limiter: a token bucket of cost points per caller, refilled over time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::shared::{Principal, TenantId, Timestamp};

use crate::port::Caller;

/// Budget of a caller, in points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryBudget {
    /// Highest number of points.
    pub points: u32,
    /// Points that are restored each second.
    pub points_per_second: u32,
}

/// Budgets by the kind of the caller.
#[derive(Clone, Copy, Debug)]
pub struct QueryBudgets {
    /// Of each customer.
    pub customer: QueryBudget,
    /// Of each member, service and operator.
    pub member: QueryBudget,
}

impl Default for QueryBudgets {
    /// A member can page through 100,000 rows without a pause.
    fn default() -> Self {
        Self {
            customer: QueryBudget { points: 10_000, points_per_second: 500 },
            member: QueryBudget { points: 100_000, points_per_second: 5_000 },
        }
    }
}

/// Cost limiters of all kinds of callers.
pub(crate) struct CostLimiters {
    customer: CostLimiter,
    member: CostLimiter,
}

impl CostLimiters {
    pub(crate) fn new(budgets: QueryBudgets) -> Self {
        Self { customer: CostLimiter::new(budgets.customer), member: CostLimiter::new(budgets.member) }
    }

    /// The limiter of a caller.
    pub(crate) fn of(&self, caller: &Caller) -> &CostLimiter {
        if caller.customer.is_some() { &self.customer } else { &self.member }
    }
}

/// Token buckets of the callers of one kind.
pub(crate) struct CostLimiter {
    capacity: u64,
    restored_per_s: u64,
    buckets: Mutex<HashMap<(TenantId, Principal), Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    points: u64,
    updated_at: Timestamp,
}

/// State of a caller's bucket, as the `throttleStatus` extension of an answer shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThrottleStatus {
    pub(crate) maximum_available: u64,
    pub(crate) currently_available: u64,
    pub(crate) restore_rate: u64,
}

/// Number of buckets at which full ones are removed. A full bucket has the same effect as none.
const BUCKETS_MOST: usize = 10_000;

impl CostLimiter {
    fn new(budget: QueryBudget) -> Self {
        let buckets = Mutex::default();
        Self { capacity: budget.points.into(), restored_per_s: budget.points_per_second.max(1).into(), buckets }
    }

    /// Charges a cost. If the bucket holds too few points, returns the seconds until it holds enough.
    pub(crate) fn charge(
        &self,
        caller: (TenantId, Principal),
        cost: u64,
        now: Timestamp,
    ) -> Result<ThrottleStatus, u32> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MOST {
            buckets.retain(|_, bucket| self.points(*bucket, now) < self.capacity);
        }
        let bucket = buckets.entry(caller).or_insert(Bucket { points: self.capacity, updated_at: now });
        let points = self.points(*bucket, now);
        // A full bucket pays for any cost; otherwise a query above the capacity could never run.
        let Some(rest) = points.checked_sub(cost.min(self.capacity)) else {
            let seconds = (cost - points).div_ceil(self.restored_per_s);
            return Err(u32::try_from(seconds).unwrap_or(u32::MAX));
        };
        *bucket = Bucket { points: rest, updated_at: now };
        Ok(self.status(rest))
    }

    /// Refunds the difference between the estimated and the actual cost of a query.
    pub(crate) fn refund(&self, caller: (TenantId, Principal), cost: u64) -> ThrottleStatus {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let points = buckets.get_mut(&caller).map_or(self.capacity, |bucket| {
            bucket.points = bucket.points.saturating_add(cost).min(self.capacity);
            bucket.points
        });
        self.status(points)
    }

    fn points(&self, bucket: Bucket, now: Timestamp) -> u64 {
        let micros = u64::try_from(now.micros().saturating_sub(bucket.updated_at.micros())).unwrap_or(0);
        bucket.points.saturating_add(micros.saturating_mul(self.restored_per_s) / 1_000_000).min(self.capacity)
    }

    fn status(&self, points: u64) -> ThrottleStatus {
        ThrottleStatus {
            maximum_available: self.capacity,
            currently_available: points,
            restore_rate: self.restored_per_s,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn bucket_is_charged_refilled_and_refunded() {
        let limiter = CostLimiter::new(QueryBudget { points: 100, points_per_second: 10 });
        let caller = (TenantId::new(Uuid::from_u128(1)), Principal::new(Uuid::from_u128(2)));
        let at = |seconds: i64| Timestamp::from_micros(1_763_640_000_000_000 + seconds * 1_000_000);
        let available = |status: Result<ThrottleStatus, u32>| status.map(|status| status.currently_available);
        assert_eq!(available(limiter.charge(caller, 80, at(0))), Ok(20));
        assert_eq!(available(limiter.charge(caller, 50, at(0))), Err(3));
        assert_eq!(available(limiter.charge(caller, 50, at(3))), Ok(0));
        assert_eq!(limiter.refund(caller, 45).currently_available, 45);
        assert_eq!(available(limiter.charge(caller, 45, at(0))), Ok(0));
        let other = (caller.0, Principal::new(Uuid::from_u128(3)));
        assert_eq!(available(limiter.charge(other, 500, at(0))), Ok(0));
    }
}
