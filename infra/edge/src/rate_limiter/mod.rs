//! Rate limiter: counts the commands of callers, in memory and in Redis for all processes together.
//!
//! Commands are counted in memory first. A caller that has used up its quota in this process alone is refused without a
//! request to Redis. Commands that the count in memory admits are also counted in Redis, which decides; during an
//! outage of Redis the count in memory decides. Callers without a limit are not counted.

mod bucket;
mod in_memory;
mod shared;

use api::port::{Allowance, Caller, RateLimitStatus};
use platform::clock::now;

use crate::redis::Redis;
use bucket::Bucket;
use in_memory::InMemory;

/// Limits in commands per minute; 0 means no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quotas {
    /// For each customer.
    pub customer: u32,
    /// For each member, service or operator.
    pub member: u32,
    /// For all callers of a tenant together.
    pub tenant: u32,
}

/// Highest limit that can be configured.
pub const QUOTA_MOST: u32 = 10_000_000;

/// Rate limiter of one process.
pub struct RateLimiter {
    quotas: Quotas,
    in_memory: InMemory,
    redis: Option<Redis>,
}

/// One limit that applies to a caller.
#[derive(Clone, Debug)]
struct Rule {
    policy: &'static str,
    /// Name of the bucket: callers with the same name are counted together.
    name: String,
    quota: u32,
}

/// Result of counting commands under several rules: the number granted, and the bucket of each rule afterwards.
struct Counted {
    granted: u32,
    buckets: Vec<Bucket>,
}

impl RateLimiter {
    pub fn new(quotas: Quotas, redis: Option<Redis>) -> Self {
        Self { quotas, in_memory: InMemory::default(), redis }
    }

    /// Returns whether any limit applies to a caller.
    pub fn applies_to(&self, caller: &Caller) -> bool {
        self.quotas.tenant > 0 || self.quota_of(caller).1 > 0
    }

    /// Counts commands of a caller and grants as many of them as its limits permit.
    pub async fn allow(&self, caller: &Caller, wanted: u32) -> Allowance {
        let rules = self.rules(caller);
        if rules.is_empty() {
            return Allowance::unlimited(wanted);
        }
        let at = now().micros();
        let mut counted = self.in_memory.take(&rules, wanted, at);
        if let Some(redis) = self.redis.as_ref().filter(|_| counted.granted > 0)
            && let Some(shared) = shared::take(redis, &rules, counted.granted).await
        {
            self.in_memory.give_back(&rules, counted.granted - shared.granted);
            counted = shared;
        }
        let refused = wanted - counted.granted;
        if refused > 0 {
            metrics::counter!("cartulary_limited_commands_total").increment(refused.into());
        }
        let nearest = rules.iter().zip(counted.buckets).min_by_key(|(rule, bucket)| bucket.left(rule.quota));
        let status = nearest.map(|(rule, bucket)| RateLimitStatus {
            policy: rule.policy,
            quota: rule.quota,
            left: bucket.left(rule.quota),
            reset_s: seconds(bucket.until_empty()),
            wait_s: seconds(bucket.until_next(rule.quota)),
        });
        Allowance { granted: counted.granted, status }
    }

    /// Name and quota of the limit for a single caller of this kind.
    fn quota_of(&self, caller: &Caller) -> (&'static str, u32) {
        match caller.customer {
            Some(_) => ("customer", self.quotas.customer),
            None => ("member", self.quotas.member),
        }
    }

    fn rules(&self, caller: &Caller) -> Vec<Rule> {
        let (policy, own) = self.quota_of(caller);
        let tenant = caller.tenant;
        let rules = [
            (policy, format!("{tenant}:{}", caller.principal), own),
            ("tenant", tenant.to_string(), self.quotas.tenant),
        ];
        let rules = rules.into_iter().filter(|(.., quota)| *quota > 0);
        rules.map(|(policy, name, quota)| Rule { policy, name, quota }).collect()
    }
}

fn seconds(micros: i64) -> u32 {
    u32::try_from(micros.max(0).unsigned_abs().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
