//! How many commands callers may send: counted in Redis for all processes together, and in memory.
//!
//! Everybody counts in memory first. Whom this process alone has given enough is refused without asking anybody; only
//! who would pass costs a question to Redis, and while Redis is away the count in memory goes on as it stands. Callers
//! without a limit are not counted at all.

mod bucket;
mod in_memory;
mod shared;

use api::port::Caller;
use api::port::{Allowance, RateLimitStatus};

use crate::redis::Redis;
use bucket::Bucket;
use in_memory::InMemory;
use platform::clock::now;

/// Commands a minute; 0 is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quotas {
    /// For each customer.
    pub customer: u32,
    /// For each member, service or operator.
    pub member: u32,
    /// For everybody of a tenant together.
    pub tenant: u32,
}

/// The highest limit that can be set.
pub const QUOTA_MOST: u32 = 10_000_000;

/// Counts commands.
pub struct Limits {
    quotas: Quotas,
    in_memory: InMemory,
    redis: Option<Redis>,
}

/// One limit that applies to a caller.
#[derive(Clone, Debug)]
struct Rule {
    policy: &'static str,
    /// Who is counted together.
    name: String,
    quota: u32,
}

/// What came of counting under several rules: how many were granted, and each rule's bucket afterwards.
struct Counted {
    granted: u32,
    buckets: Vec<Bucket>,
}

impl Limits {
    pub fn new(quotas: Quotas, redis: Option<Redis>) -> Self {
        Self { quotas, in_memory: InMemory::default(), redis }
    }

    /// Whether anybody is counted at all.
    pub fn apply_to(&self, caller: &Caller) -> bool {
        self.quotas.tenant > 0 || self.quota_of(caller).1 > 0
    }

    /// Counts commands of a caller, and says how many of them may go on.
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
