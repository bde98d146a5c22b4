//! What was seen to be gone, for a short time: in Redis for all processes, or in the memory of this one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use commands::kernel::StreamRef;
use domain::shared::{TenantId, Timestamp};

use crate::recent::Recent;
use crate::redis::Redis;
use crate::scribe::now;

const MARKS_MOST: usize = 10_000;

/// Marks and how long they live.
pub struct Marks {
    life: Duration,
    kept: Kept,
}

/// Until when, by stream.
enum Kept {
    InMemory(Mutex<Recent<(TenantId, StreamRef), Timestamp>>),
    Shared(Redis),
}

impl Marks {
    pub(super) fn new(redis: Option<Redis>, life: Duration) -> Self {
        let kept = redis.map_or_else(|| Kept::InMemory(Mutex::new(Recent::new(MARKS_MOST))), Kept::Shared);
        Self { life, kept }
    }

    /// How much longer each of these streams is marked; the others are left out.
    pub async fn find(&self, tenant: TenantId, streams: Vec<StreamRef>) -> HashMap<StreamRef, Duration> {
        let until: Vec<Option<Timestamp>> = match &self.kept {
            Kept::InMemory(kept) => {
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                streams.iter().map(|stream| kept.get(&(tenant, *stream)).copied()).collect()
            }
            Kept::Shared(redis) => {
                let keys: Vec<String> = streams.iter().map(|stream| key(redis, tenant, *stream)).collect();
                let mget = redis::cmd("MGET").arg(&keys).to_owned();
                let found: Option<Vec<Option<Vec<u8>>>> =
                    redis.ask(|mut redis| async move { mget.query_async(&mut redis).await }).await;
                let found = found.unwrap_or_default();
                keys.iter().zip(found).map(|(key, sealed)| moment(redis.open(key, &sealed?)?)).collect()
            }
        };
        let now = now().micros();
        let marked = streams.into_iter().zip(until).filter_map(|(stream, until)| {
            let left = u64::try_from(until?.micros().saturating_sub(now)).ok().filter(|left| *left > 0)?;
            // An old mark that somebody put back, or one by a clock that is ahead, is no longer than a new one.
            Some((stream, Duration::from_micros(left).min(self.life)))
        });
        marked.collect()
    }

    /// Nothing is left of this stream, as of now.
    pub async fn mark(&self, tenant: TenantId, stream: StreamRef) {
        let life = i64::try_from(self.life.as_micros()).unwrap_or(0);
        let until = Timestamp::from_micros(now().micros().saturating_add(life));
        match &self.kept {
            Kept::InMemory(kept) => {
                kept.lock().unwrap_or_else(PoisonError::into_inner).insert((tenant, stream), until);
            }
            Kept::Shared(redis) => {
                let key = key(redis, tenant, stream);
                let sealed = redis.seal(&key, &until.micros().to_be_bytes());
                let life = self.life.as_millis().to_string();
                let set = redis::cmd("SET").arg(key).arg(sealed).arg("PX").arg(life).to_owned();
                redis.ask(|mut redis| async move { set.exec_async(&mut redis).await }).await;
            }
        }
    }

    /// There is something again.
    pub async fn clear(&self, tenant: TenantId, stream: StreamRef) {
        match &self.kept {
            Kept::InMemory(kept) => kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&(tenant, stream)),
            Kept::Shared(redis) => {
                let unlink = redis::cmd("UNLINK").arg(key(redis, tenant, stream)).to_owned();
                redis.ask(|mut redis| async move { unlink.exec_async(&mut redis).await }).await;
            }
        }
    }
}

fn key(redis: &Redis, tenant: TenantId, stream: StreamRef) -> String {
    redis.key(&["gone", &tenant.to_string(), stream.stream_type, &stream.id.to_string()])
}

fn moment(bytes: &[u8]) -> Option<Timestamp> {
    Some(Timestamp::from_micros(i64::from_be_bytes(bytes.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_mark_lives_for_its_time_or_until_there_is_something_again() {
        let (marks, tenant) = (Marks::new(None, Duration::from_millis(200)), TenantId::new(Uuid::from_u128(1)));
        let stream = |number| StreamRef { stream_type: "StockItem", id: Uuid::from_u128(number) };
        for number in 1..=2 {
            marks.mark(tenant, stream(number)).await;
        }
        marks.clear(tenant, stream(2)).await;
        let found = marks.find(tenant, vec![stream(1), stream(2), stream(3)]).await;
        assert!(found.len() == 1 && found[&stream(1)] <= Duration::from_millis(200));
        assert!(marks.find(TenantId::new(Uuid::from_u128(2)), vec![stream(1)]).await.is_empty());
        tokio::time::sleep(Duration::from_millis(210)).await;
        assert!(marks.find(tenant, vec![stream(1)]).await.is_empty());
    }
}
