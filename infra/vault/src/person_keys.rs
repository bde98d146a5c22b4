//! The data keys of people: read from the store, or made when a person is seen for the first time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use commands::scribe::PersonKey;
use domain::shared::{TenantId, Timestamp};
use sqlx::PgPool;
use uuid::Uuid;
use zeroize::Zeroizing;

use platform::clock::now;

/// Keys that may be kept in memory.
const KEPT_MOST: usize = 50_000;
/// So long a new key rides along with every command that needs it; by then it was written, or never will be.
const NEW_FOR_MICROS: i64 = 10 * 60 * 1_000_000;

/// The data keys in memory and in the store.
pub struct PersonKeys {
    pool: PgPool,
    wrapping: XChaCha20Poly1305,
    kept: Mutex<HashMap<(TenantId, Uuid), Kept>>,
}

/// A data key, and its wrapped form while the store may not have it yet.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) key: Zeroizing<[u8; 32]>,
    pub(super) unwritten: Option<(PersonKey, Timestamp)>,
}

impl PersonKeys {
    pub fn new(pool: PgPool, wrapping: &[u8; 32]) -> Self {
        Self { pool, wrapping: XChaCha20Poly1305::new(wrapping.into()), kept: Mutex::default() }
    }

    /// The key of a person; a new one where there is none. All who ask at the same time get the same one.
    pub(super) async fn key_or_new(&self, tenant: TenantId, person: Uuid) -> Result<Kept, sqlx::Error> {
        if let Some(kept) = self.key(tenant, person).await? {
            return Ok(kept);
        }
        let made = self.make(tenant, person).map_err(|error| sqlx::Error::Encode(error.into()))?;
        Ok(self.lock().entry((tenant, person)).or_insert(made).clone())
    }

    /// The key of a person, if there is one and it was not destroyed.
    pub(super) async fn key(&self, tenant: TenantId, person: Uuid) -> Result<Option<Kept>, sqlx::Error> {
        let kept = self.lock().get(&(tenant, person)).cloned();
        if kept.as_ref().is_some_and(|kept| kept.unwritten.is_none()) {
            return Ok(kept);
        }
        let text = "SELECT wrapped FROM log.person_keys WHERE tenant = $1 AND person = $2";
        let wrapped: Option<Vec<u8>> =
            sqlx::query_scalar(text).bind(tenant.uuid()).bind(person).fetch_optional(&self.pool).await?;
        let Some(key) = wrapped.and_then(|wrapped| self.unwrap(tenant, person, &wrapped)) else { return Ok(kept) };
        // What the store has counts, even where another process was faster than ours to make a key.
        let written = Kept { key, unwritten: None };
        self.lock().insert((tenant, person), written.clone());
        Ok(Some(written))
    }

    fn make(&self, tenant: TenantId, person: Uuid) -> Result<Kept, String> {
        let mut key = Zeroizing::new([0; 32]);
        let mut nonce = [0; 24];
        getrandom::fill(key.as_mut_slice()).map_err(|error| error.to_string())?;
        getrandom::fill(&mut nonce).map_err(|error| error.to_string())?;
        let context = [tenant.uuid().into_bytes(), person.into_bytes()].concat();
        let payload = Payload { msg: key.as_slice(), aad: &context };
        let sealed = self.wrapping.encrypt(&XNonce::from(nonce), payload).map_err(|error| error.to_string())?;
        let wrapped = [nonce.as_slice(), &sealed].concat();
        Ok(Kept { key, unwritten: Some((PersonKey { tenant, person, wrapped }, now())) })
    }

    fn unwrap(&self, tenant: TenantId, person: Uuid, wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let (nonce, sealed) = wrapped.split_first_chunk::<24>()?;
        let context = [tenant.uuid().into_bytes(), person.into_bytes()].concat();
        let payload = Payload { msg: sealed, aad: &context };
        let key = Zeroizing::new(self.wrapping.decrypt(&XNonce::from(*nonce), payload).ok()?);
        Some(Zeroizing::new(key.as_slice().try_into().ok()?))
    }

    /// Never lets go of a key that the store may not have yet.
    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, Uuid), Kept>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_MOST {
            let since = now().micros().saturating_sub(NEW_FOR_MICROS);
            kept.retain(|_, kept| kept.unwritten.as_ref().is_some_and(|(_, made_at)| made_at.micros() > since));
        }
        kept
    }
}
