//! Row cache in Redis, shared by all processes.
//!
//! Redis holds a sealed row for each cache key, and for each model and lane the position up to which projectors have
//! announced changes. Rows that were read at a lower checkpoint may lack such a change and are not stored.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use domain::shared::Timestamp;
use edge::redis::Redis;
use platform::clock::now;
use projections::kernel::Model;
use projections::ports::Checkpoint;
use redis::Script;

use super::store::{CachedRow, RowCacheKey, RowCacheStore};

/// Maximum number of keys of one UNLINK command, to bound the time for which it blocks Redis.
const KEYS_PER_COMMAND: usize = 500;

/// Stores rows unless a later change was announced. KEYS: the announced position, then the rows. ARGV: position, time
/// to live in ms, then the rows.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local announced = redis.pcall('GET', KEYS[1])
          if type(announced) == 'string' and (tonumber(announced) or 0) > tonumber(ARGV[1]) then return 0 end
          for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[2]) end
          return #KEYS - 1",
    )
});

/// Row cache in Redis. While Redis does not answer, no row is found and none is stored.
pub struct RedisRowCache {
    redis: Redis,
    ttl: Duration,
}

impl RedisRowCache {
    pub fn new(redis: Redis, ttl: Duration) -> Self {
        Self { redis, ttl }
    }

    fn row_key(&self, key: &RowCacheKey) -> String {
        self.redis.key(&["row", key.as_str()])
    }

    fn announced_key(&self, model: &Model, lane: i16) -> String {
        self.redis.key(&["told", &model.name, &lane.to_string()])
    }

    /// Remaining time to live of a row, in milliseconds.
    fn remaining_ttl_ms(&self, row: &CachedRow) -> i64 {
        let age = now().micros().saturating_sub(row.read_at.micros()) / 1_000;
        i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX).saturating_sub(age)
    }
}

#[async_trait]
impl RowCacheStore for RedisRowCache {
    async fn get(&self, keys: &[RowCacheKey]) -> Vec<Option<CachedRow>> {
        let keys: Vec<String> = keys.iter().map(|key| self.row_key(key)).collect();
        // MGET returns nil for a value of another type, where GET would fail.
        let mget = redis::cmd("MGET").arg(&keys).to_owned();
        let values: Option<Vec<Option<Vec<u8>>>> =
            self.redis.execute(|mut redis| async move { mget.query_async(&mut redis).await }).await;
        let values = values.unwrap_or_default().into_iter().chain(std::iter::repeat(None));
        let open = |(key, sealed): (&String, Option<Vec<u8>>)| decode(self.redis.open(key, &sealed?)?);
        keys.iter().zip(values).map(open).collect()
    }

    async fn put(&self, model: &Model, at: Checkpoint, rows: Vec<(RowCacheKey, CachedRow)>) {
        let ttl = rows.first().map(|(_, row)| self.remaining_ttl_ms(row));
        let Some(ttl) = ttl.filter(|ttl| *ttl > 0) else { return };
        let mut put = PUT.prepare_invoke();
        put.key(self.announced_key(model, at.lane));
        for (key, _) in &rows {
            put.key(self.row_key(key));
        }
        put.arg(at.position).arg(ttl);
        for (key, row) in &rows {
            put.arg(self.redis.seal(&self.row_key(key), &encode(row)));
        }
        self.redis.execute(|mut redis| async move { put.invoke_async::<()>(&mut redis).await }).await;
    }

    async fn invalidate(&self, model: &Model, at: &[Checkpoint], keys: Vec<RowCacheKey>) {
        let mut pipe = redis::pipe();
        for at in at {
            // A reader may store an older row for one time to live after its read; a second one allows for late
            // notices.
            let kept_ms = self.ttl.as_millis().saturating_mul(2).to_string();
            pipe.cmd("SET").arg(self.announced_key(model, at.lane)).arg(at.position).arg("PX").arg(kept_ms).ignore();
        }
        let keys: Vec<String> = keys.iter().map(|key| self.row_key(key)).collect();
        for keys in keys.chunks(KEYS_PER_COMMAND) {
            pipe.cmd("UNLINK").arg(keys).ignore();
        }
        self.redis.execute(|mut redis| async move { pipe.query_async::<()>(&mut redis).await }).await;
    }
}

/// Version of the encoding, which consists of version, lane, position, epoch, time of the read, and row.
const VERSION: u8 = 1;

fn encode(row: &CachedRow) -> Vec<u8> {
    let CachedRow { row, at, read_at } = row;
    let numbers = [at.position, at.epoch, read_at.micros()].map(i64::to_be_bytes).concat();
    [&[VERSION], at.lane.to_be_bytes().as_slice(), &numbers, row.as_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<CachedRow> {
    let (version, rest) = bytes.split_first()?;
    let (lane, rest) = rest.split_first_chunk()?;
    let (position, rest) = rest.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (read_at, row) = rest.split_first_chunk()?;
    let number = |bytes: &[u8; 8]| i64::from_be_bytes(*bytes);
    (*version == VERSION).then_some(CachedRow {
        row: String::from_utf8(row.to_vec()).ok()?,
        at: Checkpoint { lane: i16::from_be_bytes(*lane), position: number(position), epoch: number(epoch) },
        read_at: Timestamp::from_micros(number(read_at)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_row_decodes_to_the_same_and_damaged_bytes_to_none() {
        let at = Checkpoint { lane: 3, position: i64::MAX, epoch: -7 };
        let row = CachedRow { row: r#"{"name":"Tasse ä"}"#.into(), at, read_at: Timestamp::from_micros(1) };
        let bytes = encode(&row);
        assert_eq!(decode(&bytes), Some(row));
        assert_eq!(decode(&bytes[..20]), None);
        assert_eq!(decode(&[&[9], &bytes[1..]].concat()), None);
    }
}
