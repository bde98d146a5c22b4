//! Sold-out cache: streams in which nothing was left a moment ago, in Redis for all processes or in the memory of this
//! one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use commands::kernel::StreamRef;
use commands::scribe::{CacheKey, TwoGenerationCache};
use domain::shared::{TenantId, Timestamp};
use platform::clock::{now, time_after};

use crate::redis::Redis;

/// Entries in memory; at least the last 10,000 are kept until they expire.
const ENTRIES_MOST: usize = 20_000;
/// Commands that are sent to Redis in one pipeline. Requests of other callers on the same connection wait for at most
/// one pipeline.
const PIPELINE_COMMANDS_MOST: usize = 500;

/// Negative cache of streams, with the lifetime of an entry.
pub(super) struct SoldOutCache {
    lifetime: Duration,
    entries: Entries,
}

/// Observation that nothing, or that something, is left in a stream.
#[derive(Clone, Copy)]
pub(super) struct Observation {
    pub(super) tenant: TenantId,
    pub(super) stream: StreamRef,
    pub(super) is_sold_out: bool,
}

/// Expiry of each entry, by stream.
enum Entries {
    InMemory(Mutex<TwoGenerationCache<EntryKey, Timestamp>>),
    Shared(Redis),
}

#[derive(PartialEq, Eq, Hash)]
struct EntryKey(TenantId, StreamRef);

impl CacheKey for EntryKey {}

impl SoldOutCache {
    pub(super) fn new(redis: Option<Redis>, lifetime: Duration) -> Self {
        let in_memory = || Entries::InMemory(Mutex::new(TwoGenerationCache::new(ENTRIES_MOST)));
        Self { lifetime, entries: redis.map_or_else(in_memory, Entries::Shared) }
    }

    /// Finds the entries of streams, with the time until each expires. Streams without an entry are left out.
    pub(super) async fn find(&self, tenant: TenantId, streams: Vec<StreamRef>) -> HashMap<StreamRef, Duration> {
        let expiries: Vec<Option<Timestamp>> = match &self.entries {
            Entries::InMemory(entries) => {
                let entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                streams.iter().map(|stream| entries.get(&EntryKey(tenant, *stream)).copied()).collect()
            }
            Entries::Shared(redis) => {
                let keys: Vec<String> = streams.iter().map(|stream| key(redis, tenant, *stream)).collect();
                let mget = redis::cmd("MGET").arg(&keys).to_owned();
                let values: Option<Vec<Option<Vec<u8>>>> =
                    redis.execute(|mut redis| async move { mget.query_async(&mut redis).await }).await;
                let values = values.unwrap_or_default();
                keys.iter().zip(values).map(|(key, sealed)| timestamp(redis.open(key, &sealed?)?)).collect()
            }
        };
        let now = now().micros();
        let entries = streams.into_iter().zip(expiries).filter_map(|(stream, expires_at)| {
            let left = u64::try_from(expires_at?.micros().saturating_sub(now)).ok().filter(|left| *left > 0)?;
            // A value that was written by a clock that is ahead counts no longer than a new one.
            Some((stream, Duration::from_micros(left).min(self.lifetime)))
        });
        entries.collect()
    }

    /// Records observations in their order: adds an entry for a sold-out stream and removes the entry of another one.
    pub(super) async fn record(&self, observations: Vec<Observation>) {
        let expires_at = time_after(now(), self.lifetime);
        match &self.entries {
            Entries::InMemory(entries) => {
                let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
                for Observation { tenant, stream, is_sold_out } in observations {
                    if is_sold_out {
                        entries.insert(EntryKey(tenant, stream), expires_at);
                    } else {
                        entries.remove(&EntryKey(tenant, stream));
                    }
                }
            }
            Entries::Shared(redis) => {
                for observations in observations.chunks(PIPELINE_COMMANDS_MOST) {
                    let pipeline = self.pipeline(redis, observations, expires_at);
                    redis.execute(|mut redis| async move { pipeline.query_async::<()>(&mut redis).await }).await;
                }
            }
        }
    }

    /// The Redis commands that record observations.
    fn pipeline(&self, redis: &Redis, observations: &[Observation], expires_at: Timestamp) -> redis::Pipeline {
        let mut pipeline = redis::pipe();
        for observation in observations {
            let key = key(redis, observation.tenant, observation.stream);
            if observation.is_sold_out {
                let sealed = redis.seal(&key, &expires_at.micros().to_be_bytes());
                pipeline.cmd("SET").arg(key).arg(sealed).arg("PX").arg(self.lifetime.as_millis().to_string()).ignore();
            } else {
                pipeline.cmd("UNLINK").arg(key).ignore();
            }
        }
        pipeline
    }
}

fn key(redis: &Redis, tenant: TenantId, stream: StreamRef) -> String {
    redis.key(&["gone", &tenant.to_string(), stream.stream_type, &stream.id.to_string()])
}

fn timestamp(bytes: &[u8]) -> Option<Timestamp> {
    Some(Timestamp::from_micros(i64::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn an_entry_lives_until_it_expires_or_the_stream_has_something_left() {
        let (cache, tenant) = (SoldOutCache::new(None, Duration::from_millis(200)), TenantId::new(Uuid::from_u128(1)));
        let stream = |number| StreamRef { stream_type: "StockItem", id: Uuid::from_u128(number) };
        let observation = |number, is_sold_out| Observation { tenant, stream: stream(number), is_sold_out };
        cache.record(vec![observation(1, true), observation(2, true), observation(2, false)]).await;
        let found = cache.find(tenant, vec![stream(1), stream(2), stream(3)]).await;
        assert!(found.len() == 1 && found[&stream(1)] <= Duration::from_millis(200));
        assert!(cache.find(TenantId::new(Uuid::from_u128(2)), vec![stream(1)]).await.is_empty());
        tokio::time::sleep(Duration::from_millis(210)).await;
        assert!(cache.find(tenant, vec![stream(1)]).await.is_empty());
    }
}
