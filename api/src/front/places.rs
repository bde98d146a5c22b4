//! Places that callers share: so many in all, for one tenant, and for one caller, so that nobody takes everybody's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use commands::kernel::NotNow;
use domain::kernel::Retry;
use domain::shared::{Principal, TenantId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::auth::Caller;
use crate::error::Problem;

/// When whoever finds no place may come again.
const RETRY_AFTER_S: u32 = 5;

/// How many places there are, of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    /// What is told when a caller or a tenant has enough.
    pub(crate) code: &'static str,
    /// For one customer.
    pub(crate) customer: u32,
    /// For one member, service or operator.
    pub(crate) member: u32,
    /// For everybody of a tenant together.
    pub(crate) tenant: u32,
    pub(crate) all: u32,
}

/// Places of one kind.
pub(crate) struct Places {
    most: Most,
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

/// Who has how many; nobody is in it with none.
#[derive(Default)]
struct Taken {
    by_caller: HashMap<(TenantId, Principal), u32>,
    by_tenant: HashMap<TenantId, u32>,
}

/// One place, free again when this goes away.
pub(crate) struct Place {
    places: Arc<Places>,
    who: (TenantId, Principal),
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(most: Most) -> Arc<Self> {
        Arc::new(Self { most, free: Arc::new(Semaphore::new(most.all as usize)), taken: Mutex::default() })
    }

    /// A place for this caller, or why there is none.
    pub(crate) fn take(self: &Arc<Self>, caller: &Caller) -> Result<Place, Problem> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| overloaded())?;
        let own = if caller.customer.is_some() { self.most.customer } else { self.most.member };
        let who = (caller.tenant, caller.principal);
        let mut taken = self.taken();
        if has(&taken.by_caller, &who) >= own {
            return Err(self.enough("this caller", own));
        }
        if has(&taken.by_tenant, &who.0) >= self.most.tenant {
            return Err(self.enough("this tenant", self.most.tenant));
        }
        *taken.by_caller.entry(who).or_default() += 1;
        *taken.by_tenant.entry(who.0).or_default() += 1;
        drop(taken);
        Ok(Place { places: Arc::clone(self), who, _permit: permit })
    }

    /// Waits until every place is free.
    pub(crate) async fn all_free(&self) {
        self.free.acquire_many(self.most.all).await.ok();
    }

    fn enough(&self, whose: &str, most: u32) -> Problem {
        let detail = format!("{whose} has {most} of them at this process, and no more are given; close one first");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, self.most.code, detail);
        Problem { retry: Retry::SameId, retry_after_s: Some(RETRY_AFTER_S), ..problem }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it is already this caller's.
    pub(crate) fn is_for(&self, caller: &Caller) -> bool {
        self.who == (caller.tenant, caller.principal)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        give_back(&mut taken.by_caller, self.who);
        give_back(&mut taken.by_tenant, self.who.0);
    }
}

/// What is told when all places are taken, whoever has them.
pub(crate) fn overloaded() -> Problem {
    NotNow::Overloaded { retry_after_s: RETRY_AFTER_S }.into()
}

fn has<K: Eq + Hash>(taken: &HashMap<K, u32>, who: &K) -> u32 {
    taken.get(who).copied().unwrap_or_default()
}

fn give_back<K: Eq + Hash>(taken: &mut HashMap<K, u32>, who: K) {
    if let Entry::Occupied(mut places) = taken.entry(who) {
        match places.get() {
            0 | 1 => _ = places.remove(),
            more => *places.get_mut() = more - 1,
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
    async fn nobody_takes_the_places_of_others() {
        let places = Places::new(Most { code: "TOO_MANY", customer: 2, member: 4, tenant: 5, all: 7 });
        let take = |caller: &Caller, count: usize| -> Vec<Place> {
            (0..count).map(|_| places.take(caller).expect("a place")).collect()
        };
        let told = |caller: &Caller| places.take(caller).err().map(|problem| (problem.status.as_u16(), problem.code));
        let mut ada = take(&customer(1, 1), 2);
        assert_eq!(told(&customer(1, 1)), Some((429, "TOO_MANY".into())), "a customer has enough");
        let staff = take(&member(1, 2), 3);
        assert_eq!(told(&member(1, 2)), Some((429, "TOO_MANY".into())), "a tenant has enough");
        let others = take(&member(2, 3), 2);
        assert_eq!(told(&member(3, 4)), Some((503, "OVERLOADED".into())), "all are taken");

        ada.pop();
        ada.extend(take(&customer(1, 1), 1));
        drop((ada, staff, others));
        assert!(places.taken().by_caller.is_empty() && places.taken().by_tenant.is_empty(), "nobody is kept in mind");
        places.all_free().await;
    }
}
