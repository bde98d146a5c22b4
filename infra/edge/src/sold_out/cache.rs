//! What was seen to be gone, for a short time: in Redis for all processes, or in the memory of this one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use commands::kernel::StreamRef;
use domain::shared::{TenantId, Timestamp};

use crate::redis::Redis;
use platform::clock::now;
use platform::recent::Recent;

const MARKS_MOST: usize = 10_000;
/// Commands that are sent to Redis together; others are not kept waiting longer than for these.
const TOLD_AT_ONCE: usize = 500;

/// Marks and how long they live.
pub struct Marks {
    life: Duration,
    kept: Kept,
}

/// What was just seen of a stream.
pub struct Seen {
    pub tenant: TenantId,
    pub stream: StreamRef,
    /// Whether nothing is left of it.
    pub is_gone: bool,
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

    /// Takes what was seen of streams, in its order.
    pub async fn tell(&self, seen: Vec<Seen>) {
        let life = i64::try_from(self.life.as_micros()).unwrap_or(0);
        let until = Timestamp::from_micros(now().micros().saturating_add(life));
        match &self.kept {
            Kept::InMemory(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                for Seen { tenant, stream, is_gone } in seen {
                    if is_gone {
                        kept.insert((tenant, stream), until);
                    } else {
                        kept.remove(&(tenant, stream));
                    }
                }
            }
            Kept::Shared(redis) => {
                for seen in seen.chunks(TOLD_AT_ONCE) {
                    let told = self.told(redis, seen, until);
                    redis.ask(|mut redis| async move { told.query_async::<()>(&mut redis).await }).await;
                }
            }
        }
    }

    /// The same in one go for Redis.
    fn told(&self, redis: &Redis, seen: &[Seen], until: Timestamp) -> redis::Pipeline {
        let mut told = redis::pipe();
        for seen in seen {
            let key = key(redis, seen.tenant, seen.stream);
            if seen.is_gone {
                let sealed = redis.seal(&key, &until.micros().to_be_bytes());
                told.cmd("SET").arg(key).arg(sealed).arg("PX").arg(self.life.as_millis().to_string()).ignore();
            } else {
                told.cmd("UNLINK").arg(key).ignore();
            }
        }
        told
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
        let seen = |number, is_gone| Seen { tenant, stream: stream(number), is_gone };
        marks.tell(vec![seen(1, true), seen(2, true), seen(2, false)]).await;
        let found = marks.find(tenant, vec![stream(1), stream(2), stream(3)]).await;
        assert!(found.len() == 1 && found[&stream(1)] <= Duration::from_millis(200));
        assert!(marks.find(TenantId::new(Uuid::from_u128(2)), vec![stream(1)]).await.is_empty());
        tokio::time::sleep(Duration::from_millis(210)).await;
        assert!(marks.find(tenant, vec![stream(1)]).await.is_empty());
    }
}
