//! Copies in Redis, for all processes together.
//!
//! `<prefix>:row:<name>` is a sealed copy; `<prefix>:told:<model>:<lane>` is the position up to which the projector has
//! told of changes. A reader that was slower than the projector finds its checkpoint below that and keeps nothing.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use domain::shared::Timestamp;
use projections::kernel::Model;
use projections::ports::Checkpoint;
use redis::Script;

use super::{Copied, Copies, Name};
use edge::redis::Redis;
use platform::clock::now;

/// Keys in one command, so that Redis does not keep others waiting.
const KEYS_AT_ONCE: usize = 500;

/// First key: up to where changes were told. Then the copies' keys; position, life in ms, copies.
static KEEP: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local told = redis.pcall('GET', KEYS[1])
          if type(told) == 'string' and (tonumber(told) or 0) > tonumber(ARGV[1]) then return 0 end
          for i = 2, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PX', ARGV[2]) end
          return #KEYS - 1",
    )
});

pub struct Shared {
    redis: Redis,
    life: Duration,
}

impl Shared {
    pub fn new(redis: Redis, life: Duration) -> Self {
        Self { redis, life }
    }

    fn key(&self, name: &Name) -> String {
        self.redis.key(&["row", name.as_str()])
    }

    fn told(&self, model: &Model, lane: i16) -> String {
        self.redis.key(&["told", &model.name, &lane.to_string()])
    }

    /// What is left of a copy's life, in milliseconds.
    fn life_left(&self, copy: &Copied) -> i64 {
        let spent = now().micros().saturating_sub(copy.read_at.micros()) / 1_000;
        i64::try_from(self.life.as_millis()).unwrap_or(i64::MAX).saturating_sub(spent)
    }
}

#[async_trait]
impl Copies for Shared {
    async fn find(&self, names: &[Name]) -> Vec<Option<Copied>> {
        let keys: Vec<String> = names.iter().map(|name| self.key(name)).collect();
        // What is no text under our keys reads as nothing here, where GET would refuse to answer.
        let mget = redis::cmd("MGET").arg(&keys).to_owned();
        let found: Option<Vec<Option<Vec<u8>>>> =
            self.redis.ask(|mut redis| async move { mget.query_async(&mut redis).await }).await;
        let found = found.unwrap_or_default().into_iter().chain(std::iter::repeat(None));
        let open = |(key, sealed): (&String, Option<Vec<u8>>)| decode(self.redis.open(key, &sealed?)?);
        keys.iter().zip(found).map(open).collect()
    }

    async fn keep(&self, model: &Model, at: Checkpoint, copies: Vec<(Name, Copied)>) {
        let Some(life) = copies.first().map(|(_, copy)| self.life_left(copy)).filter(|life| *life > 0) else { return };
        let mut keep = KEEP.prepare_invoke();
        keep.key(self.told(model, at.lane));
        for (name, _) in &copies {
            keep.key(self.key(name));
        }
        keep.arg(at.position).arg(life);
        for (name, copy) in &copies {
            keep.arg(self.redis.seal(&self.key(name), &encode(copy)));
        }
        self.redis.ask(|mut redis| async move { keep.invoke_async::<()>(&mut redis).await }).await;
    }

    async fn forget(&self, model: &Model, at: &[Checkpoint], names: Vec<Name>) {
        let mut told = redis::pipe();
        for at in at {
            // As long as somebody may still hold what she read before: one life, and another for late news.
            let life = self.life.as_millis().saturating_mul(2);
            told.cmd("SET").arg(self.told(model, at.lane)).arg(at.position).arg("PX").arg(life.to_string()).ignore();
        }
        let keys: Vec<String> = names.iter().map(|name| self.key(name)).collect();
        for keys in keys.chunks(KEYS_AT_ONCE) {
            told.cmd("UNLINK").arg(keys).ignore();
        }
        self.redis.ask(|mut redis| async move { told.query_async::<()>(&mut redis).await }).await;
    }
}

/// How a copy is written: version, lane, position, epoch, when it was read, row.
const VERSION: u8 = 1;

fn encode(copy: &Copied) -> Vec<u8> {
    let Copied { row, at, read_at } = copy;
    let numbers = [at.position, at.epoch, read_at.micros()].map(i64::to_be_bytes).concat();
    [&[VERSION], at.lane.to_be_bytes().as_slice(), &numbers, row.as_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<Copied> {
    let (version, rest) = bytes.split_first()?;
    let (lane, rest) = rest.split_first_chunk()?;
    let (position, rest) = rest.split_first_chunk()?;
    let (epoch, rest) = rest.split_first_chunk()?;
    let (read_at, row) = rest.split_first_chunk()?;
    let number = |bytes: &[u8; 8]| i64::from_be_bytes(*bytes);
    (*version == VERSION).then_some(Copied {
        row: String::from_utf8(row.to_vec()).ok()?,
        at: Checkpoint { lane: i16::from_be_bytes(*lane), position: number(position), epoch: number(epoch) },
        read_at: Timestamp::from_micros(number(read_at)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_as_it_was_written() {
        let at = Checkpoint { lane: 3, position: i64::MAX, epoch: -7 };
        let copy = Copied { row: r#"{"name":"Tasse ä"}"#.into(), at, read_at: Timestamp::from_micros(1) };
        let bytes = encode(&copy);
        assert_eq!(decode(&bytes), Some(copy));
        assert_eq!(decode(&bytes[..20]), None);
        assert_eq!(decode(&[&[9], &bytes[1..]].concat()), None);
    }
}
