//! Concurrency limiter: bounds the connections and subscriptions that are open at once per process, tenant and caller,
//! so that no caller or tenant can use up the capacity of the others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use commands::kernel::NotNow;
use domain::kernel::Retry;
use domain::shared::{Principal, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Problem;
use crate::port::Caller;

/// `Retry-After` of a refusal, in seconds.
const RETRY_AFTER_S: u32 = 5;

/// Upper bounds of one limiter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    /// Problem code of a refusal by the bound of a caller or tenant.
    pub(crate) code: &'static str,
    /// For one customer.
    pub(crate) customer: u32,
    /// For one member, service or operator.
    pub(crate) member: u32,
    /// For all callers of a tenant together.
    pub(crate) tenant: u32,
    /// For the whole process.
    pub(crate) all: u32,
}

/// Limiter of one kind of connection or subscription.
pub(crate) struct ConcurrencyLimiter {
    caps: Caps,
    free: Arc<Semaphore>,
    usage: Mutex<Usage>,
}

/// Number of permits in use; callers and tenants without any have no entry.
#[derive(Default)]
struct Usage {
    by_caller: HashMap<(TenantId, Principal), u32>,
    by_tenant: HashMap<TenantId, u32>,
}

/// Right to keep one connection or subscription open; returned on drop.
pub(crate) struct Permit {
    limiter: Arc<ConcurrencyLimiter>,
    holder: (TenantId, Principal),
    _process: OwnedSemaphorePermit,
}

impl ConcurrencyLimiter {
    pub(crate) fn new(caps: Caps) -> Arc<Self> {
        Arc::new(Self { caps, free: Arc::new(Semaphore::new(caps.all as usize)), usage: Mutex::default() })
    }

    /// Takes a permit for this caller. Refuses with 503 if the process has reached its bound, with 429 if the caller or
    /// its tenant has.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller) -> Result<Permit, Problem> {
        let process = Arc::clone(&self.free).try_acquire_owned().map_err(|_| overloaded())?;
        let own = if caller.customer.is_some() { self.caps.customer } else { self.caps.member };
        let holder = (caller.tenant, caller.principal);
        let mut usage = self.usage();
        if count(&usage.by_caller, &holder) >= own {
            return Err(self.exhausted("this caller", own));
        }
        if count(&usage.by_tenant, &holder.0) >= self.caps.tenant {
            return Err(self.exhausted("this tenant", self.caps.tenant));
        }
        *usage.by_caller.entry(holder).or_default() += 1;
        *usage.by_tenant.entry(holder.0).or_default() += 1;
        drop(usage);
        Ok(Permit { limiter: Arc::clone(self), holder, _process: process })
    }

    /// Waits until all permits are returned.
    pub(crate) async fn all_free(&self) {
        self.free.acquire_many(self.caps.all).await.ok();
    }

    fn exhausted(&self, scope: &str, most: u32) -> Problem {
        let detail = format!("{scope} has the maximum of {most} open at this process; close one first");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, self.caps.code, detail);
        Problem { retry: Retry::SameId, retry_after_s: Some(RETRY_AFTER_S), ..problem }
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// True if this caller holds the permit.
    pub(crate) fn is_for(&self, caller: &Caller) -> bool {
        self.holder == (caller.tenant, caller.principal)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut usage = self.limiter.usage();
        release(&mut usage.by_caller, self.holder);
        release(&mut usage.by_tenant, self.holder.0);
    }
}

/// Refusal by a process that has reached a bound.
pub(crate) fn overloaded() -> Problem {
    NotNow::Overloaded { retry_after_s: RETRY_AFTER_S }.into()
}

fn count<K: Eq + Hash>(usage: &HashMap<K, u32>, holder: &K) -> u32 {
    usage.get(holder).copied().unwrap_or_default()
}

fn release<K: Eq + Hash>(usage: &mut HashMap<K, u32>, holder: K) {
    if let Entry::Occupied(mut permits) = usage.entry(holder) {
        match permits.get() {
            0 | 1 => _ = permits.remove(),
            more => *permits.get_mut() = more - 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::kernel::Actor;
    use domain::shared::{CustomerId, Role, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn member(tenant: u128, number: u128) -> Caller {
        let (tenant, principal) = (TenantId::new(Uuid::from_u128(tenant)), Principal::new(Uuid::from_u128(number)));
        let (actor, roles, until) = (Actor::Member(principal), vec![Role::Owner], Timestamp::from_micros(1));
        Caller { tenant, principal, actor, roles, customer: None, until }
    }

    fn customer(tenant: u128, number: u128) -> Caller {
        Caller { customer: Some(CustomerId::new(Uuid::from_u128(number))), ..member(tenant, number) }
    }

    #[tokio::test]
    async fn limiter_refuses_per_caller_per_tenant_and_per_process_and_frees_on_drop() {
        let limiter = ConcurrencyLimiter::new(Caps { code: "TOO_MANY", customer: 2, member: 4, tenant: 5, all: 7 });
        let take = |caller: &Caller, count: usize| -> Vec<Permit> {
            (0..count).map(|_| limiter.take(caller).expect("a free permit")).collect()
        };
        let refusal =
            |caller: &Caller| limiter.take(caller).err().map(|problem| (problem.status.as_u16(), problem.code));
        let mut ada = take(&customer(1, 1), 2);
        assert_eq!(refusal(&customer(1, 1)), Some((429, "TOO_MANY".into())), "the customer is at its bound");
        let staff = take(&member(1, 2), 3);
        assert_eq!(refusal(&member(1, 2)), Some((429, "TOO_MANY".into())), "the tenant is at its bound");
        let others = take(&member(2, 3), 2);
        assert_eq!(refusal(&member(3, 4)), Some((503, "OVERLOADED".into())), "the process is full");

        ada.pop();
        ada.extend(take(&customer(1, 1), 1));
        drop((ada, staff, others));
        let is_unused = |usage: &Usage| usage.by_caller.is_empty() && usage.by_tenant.is_empty();
        assert!(is_unused(&limiter.usage()), "no entry without permits");
        limiter.all_free().await;
    }
}
