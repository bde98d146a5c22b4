//! Data keys of persons: read from a cache or the store, or created when a person is first mentioned.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use commands::scribe::{CacheKey, TwoGenerationCache, WrappedDataKey};
use domain::shared::{TenantId, Timestamp};
use platform::clock::{now, time_before};
use platform::database::begin_for;
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Number of keys in the cache; at least the last 25,000 that were used are kept.
const KEYS_MOST: usize = 50_000;
/// Time for which the cache keeps a new key that the store may not have yet. By then the command that brought the key
/// was written, or never will be.
const UNSTORED_RETENTION: Duration = Duration::from_secs(10 * 60);

/// Data keys of all persons: the store, and a cache in front of it.
pub(crate) struct DataKeys {
    pool: PgPool,
    wrapping_cipher: XChaCha20Poly1305,
    cache: Mutex<TwoGenerationCache<PersonRef, DataKey>>,
}

/// A person of a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct PersonRef {
    tenant: TenantId,
    id: Uuid,
}

impl CacheKey for PersonRef {}

/// A data key in the clear.
#[derive(Clone)]
pub(crate) struct DataKey {
    pub(crate) key: Zeroizing<[u8; 32]>,
    /// Wrapped form and time of creation of a key that was created here and not yet found in the store.
    pub(crate) unstored: Option<(WrappedDataKey, Timestamp)>,
}

impl DataKeys {
    pub(crate) fn new(pool: PgPool, wrapping_key: &[u8; 32]) -> Self {
        let cache = Mutex::new(TwoGenerationCache::new(KEYS_MOST));
        Self { pool, wrapping_cipher: XChaCha20Poly1305::new(wrapping_key.into()), cache }
    }

    /// Finds the key of a person, or creates one. Concurrent callers of this process get the same key.
    pub(crate) async fn key_or_new(&self, tenant: TenantId, person: Uuid) -> Result<DataKey, sqlx::Error> {
        if let Some(key) = self.key(tenant, person).await? {
            return Ok(key);
        }
        let person = PersonRef { tenant, id: person };
        let new = self.create(person).map_err(|error| sqlx::Error::Encode(error.into()))?;
        let mut cache = self.lock();
        if let Some(concurrent) = cache.get(&person) {
            return Ok(concurrent.clone());
        }
        insert(&mut cache, person, new.clone());
        Ok(new)
    }

    /// Finds the key of a person; `None` if neither the cache nor the store has one.
    async fn key(&self, tenant: TenantId, person: Uuid) -> Result<Option<DataKey>, sqlx::Error> {
        Ok(self.keys(tenant, [person]).await?.remove(&person))
    }

    /// Finds the keys of persons in the cache or, with one statement, in the store. A cached key that is known to be
    /// stored is returned without asking the store: after its deletion there, it is found until it has left the cache.
    pub(crate) async fn keys(
        &self,
        tenant: TenantId,
        persons: impl IntoIterator<Item = Uuid>,
    ) -> Result<HashMap<Uuid, DataKey>, sqlx::Error> {
        let (mut keys, mut missing) = (HashMap::new(), Vec::new());
        {
            let mut cache = self.lock();
            for id in persons {
                let cached = cache.get_mut(&PersonRef { tenant, id }, |_| 1).cloned();
                if cached.as_ref().is_none_or(|cached| cached.unstored.is_some()) {
                    missing.push(id);
                }
                keys.extend(cached.map(|cached| (id, cached)));
            }
        }
        if missing.is_empty() {
            return Ok(keys);
        }
        let text = "SELECT person, wrapped FROM log.person_keys WHERE tenant = $1 AND person = ANY($2)";
        let mut transaction = begin_for(&self.pool, tenant).await?;
        let stored = sqlx::query_as(text).bind(tenant.uuid()).bind(missing);
        let stored: Vec<(Uuid, Vec<u8>)> = stored.fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        for (id, wrapped) in stored {
            let person = PersonRef { tenant, id };
            // The stored key replaces one that this process created: another process was faster.
            if let Some(key) = self.unwrap_key(person, &wrapped) {
                let key = DataKey { key, unstored: None };
                insert(&mut self.lock(), person, key.clone());
                keys.insert(id, key);
            }
        }
        Ok(keys)
    }

    fn create(&self, person: PersonRef) -> Result<DataKey, String> {
        let mut key = Zeroizing::new([0; 32]);
        let mut nonce = [0; 24];
        getrandom::fill(key.as_mut_slice()).map_err(|error| error.to_string())?;
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let payload = Payload { msg: key.as_slice(), aad: &person.associated_data() };
        let sealed = self.wrapping_cipher.encrypt(&XNonce::from(nonce), payload).map_err(|error| error.to_string())?;
        let wrapped = [nonce.as_slice(), &sealed].concat();
        let new = WrappedDataKey { tenant: person.tenant, person: person.id, wrapped };
        Ok(DataKey { key, unstored: Some((new, now())) })
    }

    fn unwrap_key(&self, person: PersonRef, wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let (nonce, sealed) = wrapped.split_first_chunk::<24>()?;
        let payload = Payload { msg: sealed, aad: &person.associated_data() };
        let key = Zeroizing::new(self.wrapping_cipher.decrypt(&XNonce::from(*nonce), payload).ok()?);
        Some(Zeroizing::new(key.as_slice().try_into().ok()?))
    }

    fn lock(&self) -> MutexGuard<'_, TwoGenerationCache<PersonRef, DataKey>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PersonRef {
    fn associated_data(self) -> [u8; 32] {
        let mut data = [0; 32];
        data[..16].copy_from_slice(self.tenant.uuid().as_bytes());
        data[16..].copy_from_slice(self.id.as_bytes());
        data
    }
}

/// Inserts or replaces a key. One that the store may not have yet is kept for at least [`UNSTORED_RETENTION`].
fn insert(cache: &mut TwoGenerationCache<PersonRef, DataKey>, person: PersonRef, key: DataKey) {
    cache.remove(&person);
    cache.insert_weighted(person, key, 1);
    let forgettable_at = time_before(now(), UNSTORED_RETENTION);
    cache.rotate(|key| key.unstored.as_ref().is_some_and(|(_, created_at)| *created_at > forgettable_at));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unstored_keys_stay_in_the_cache_and_old_stored_ones_are_forgotten() {
        let mut cache = TwoGenerationCache::new(10);
        let person = |number| PersonRef { tenant: TenantId::new(Uuid::from_u128(1)), id: Uuid::from_u128(number) };
        let wrapped = WrappedDataKey { tenant: person(0).tenant, person: person(0).id, wrapped: Vec::new() };
        let key = |unstored| DataKey { key: Zeroizing::new([0; 32]), unstored };
        insert(&mut cache, person(0), key(Some((wrapped.clone(), now()))));
        let expired = time_before(now(), UNSTORED_RETENTION);
        insert(&mut cache, person(1), key(Some((wrapped, expired))));
        (2..100).for_each(|number| insert(&mut cache, person(number), key(None)));
        let present: Vec<u128> = (0..100).filter(|number| cache.get(&person(*number)).is_some()).collect();
        assert!(present.contains(&0) && present.contains(&99), "{present:?}");
        assert!(!present.contains(&1) && !present.contains(&2) && present.len() <= 13, "{present:?}");
        insert(&mut cache, person(0), key(None));
        (2..100).for_each(|number| insert(&mut cache, person(number), key(None)));
        assert!(cache.get(&person(0)).is_none(), "stored keys are forgotten");
    }

    #[tokio::test]
    async fn store_is_asked_only_for_keys_that_the_cache_does_not_have() {
        let pool = PgPool::connect_lazy("postgres://unused.invalid/unused").expect("a URL");
        let (keys, tenant) = (DataKeys::new(pool, &[1; 32]), TenantId::new(Uuid::from_u128(1)));
        let persons: Vec<_> = (0..3).map(Uuid::from_u128).collect();
        for id in &persons {
            insert(
                &mut keys.lock(),
                PersonRef { tenant, id: *id },
                DataKey { key: Zeroizing::new([7; 32]), unstored: None },
            );
        }
        assert_eq!(keys.keys(tenant, persons.clone()).await.map(|found| found.len()).ok(), Some(3));
        assert!(keys.keys(tenant, persons.into_iter().chain([Uuid::from_u128(9)])).await.is_err());
    }
}
