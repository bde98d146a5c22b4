//! Data keys of persons: cached, read from the store, or created when a person is first mentioned.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use commands::scribe::{CacheKey, PersonKey, TwoGenerationCache};
use domain::shared::{TenantId, Timestamp};
use platform::clock::{now, time_before};
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Number of keys in the cache; at least the last 25,000 are kept.
const KEYS_MOST: usize = 50_000;
/// Time for which a new key is sent with every command that needs it, and stays in the cache. After it, the key was
/// written or never will be.
const UNWRITTEN_TIME: Duration = Duration::from_secs(10 * 60);

/// Data keys in the cache and in the store.
pub(crate) struct PersonKeys {
    pool: PgPool,
    wrapping: XChaCha20Poly1305,
    cache: Mutex<TwoGenerationCache<Person, DataKey>>,
}

/// A person of a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Person {
    tenant: TenantId,
    id: Uuid,
}

impl CacheKey for Person {}

/// A data key. While the store may not have it, it comes with its wrapped form and the time of its creation.
#[derive(Clone)]
pub(crate) struct DataKey {
    pub(crate) key: Zeroizing<[u8; 32]>,
    pub(crate) unwritten: Option<(PersonKey, Timestamp)>,
}

impl PersonKeys {
    pub(crate) fn new(pool: PgPool, wrapping: &[u8; 32]) -> Self {
        let cache = Mutex::new(TwoGenerationCache::new(KEYS_MOST));
        Self { pool, wrapping: XChaCha20Poly1305::new(wrapping.into()), cache }
    }

    /// Finds the key of a person, or creates one. Concurrent callers get the same key.
    pub(crate) async fn key_or_new(&self, tenant: TenantId, person: Uuid) -> Result<DataKey, sqlx::Error> {
        if let Some(key) = self.key(tenant, person).await? {
            return Ok(key);
        }
        let person = Person { tenant, id: person };
        let new = self.create(person).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let mut cache = self.lock();
        if let Some(concurrent) = cache.get(&person) {
            return Ok(concurrent.clone());
        }
        insert(&mut cache, person, new.clone());
        Ok(new)
    }

    /// Finds the key of a person; none if there is none or it was destroyed.
    pub(crate) async fn key(&self, tenant: TenantId, person: Uuid) -> Result<Option<DataKey>, sqlx::Error> {
        let person = Person { tenant, id: person };
        let cached = self.lock().get_mut(&person, |_| 1).cloned();
        if cached.as_ref().is_some_and(|cached| cached.unwritten.is_none()) {
            return Ok(cached);
        }
        let text = "SELECT wrapped FROM log.person_keys WHERE tenant = $1 AND person = $2";
        let wrapped: Option<Vec<u8>> =
            sqlx::query_scalar(text).bind(tenant.uuid()).bind(person.id).fetch_optional(&self.pool).await?;
        let Some(key) = wrapped.and_then(|wrapped| self.unwrap(person, &wrapped)) else { return Ok(cached) };
        // The stored key wins, even if this process had created another one at the same time.
        let written = DataKey { key, unwritten: None };
        insert(&mut self.lock(), person, written.clone());
        Ok(Some(written))
    }

    fn create(&self, person: Person) -> Result<DataKey, String> {
        let mut key = Zeroizing::new([0; 32]);
        let mut nonce = [0; 24];
        getrandom::fill(key.as_mut_slice()).map_err(|error| error.to_string())?;
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let payload = Payload { msg: key.as_slice(), aad: &person.associated_data() };
        let sealed = self.wrapping.encrypt(&XNonce::from(nonce), payload).map_err(|error| error.to_string())?;
        let wrapped = [nonce.as_slice(), &sealed].concat();
        let new = PersonKey { tenant: person.tenant, person: person.id, wrapped };
        Ok(DataKey { key, unwritten: Some((new, now())) })
    }

    fn unwrap(&self, person: Person, wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let (nonce, sealed) = wrapped.split_first_chunk::<24>()?;
        let payload = Payload { msg: sealed, aad: &person.associated_data() };
        let key = Zeroizing::new(self.wrapping.decrypt(&XNonce::from(*nonce), payload).ok()?);
        Some(Zeroizing::new(key.as_slice().try_into().ok()?))
    }

    fn lock(&self) -> MutexGuard<'_, TwoGenerationCache<Person, DataKey>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Person {
    fn associated_data(self) -> [u8; 32] {
        let mut data = [0; 32];
        data[..16].copy_from_slice(self.tenant.uuid().as_bytes());
        data[16..].copy_from_slice(self.id.as_bytes());
        data
    }
}

/// Inserts or replaces a key. Keys that the store may not have yet are never forgotten.
fn insert(cache: &mut TwoGenerationCache<Person, DataKey>, person: Person, key: DataKey) {
    cache.remove(&person);
    cache.insert_weighted(person, key, 1);
    let written_by = time_before(now(), UNWRITTEN_TIME);
    cache.rotate(|key| key.unwritten.as_ref().is_some_and(|(_, created_at)| *created_at > written_by));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwritten_keys_stay_in_the_cache_and_old_written_ones_are_forgotten() {
        let mut cache = TwoGenerationCache::new(10);
        let person = |number| Person { tenant: TenantId::new(Uuid::from_u128(1)), id: Uuid::from_u128(number) };
        let wrapped = PersonKey { tenant: person(0).tenant, person: person(0).id, wrapped: Vec::new() };
        let key = |unwritten| DataKey { key: Zeroizing::new([0; 32]), unwritten };
        insert(&mut cache, person(0), key(Some((wrapped.clone(), now()))));
        let expired = time_before(now(), UNWRITTEN_TIME);
        insert(&mut cache, person(1), key(Some((wrapped, expired))));
        (2..100).for_each(|number| insert(&mut cache, person(number), key(None)));
        let present: Vec<u128> = (0..100).filter(|number| cache.get(&person(*number)).is_some()).collect();
        assert!(present.contains(&0) && present.contains(&99), "{present:?}");
        assert!(!present.contains(&1) && !present.contains(&2) && present.len() <= 13, "{present:?}");
        insert(&mut cache, person(0), key(None));
        (2..100).for_each(|number| insert(&mut cache, person(number), key(None)));
        assert!(cache.get(&person(0)).is_none(), "written keys are forgotten");
    }
}
