//! Counts in Redis, for all processes: the arithmetic of [`Bucket`] in one script, by the clock of Redis.
//!
//! The values carry no MAC, because the script changes them. An attacker that could write them could also remove them.
//! A value that is not a number counts as an empty bucket. One that is above the depth counts as a full bucket and is
//! written back as one.

use std::sync::LazyLock;

use redis::Script;

use super::bucket::{Bucket, depth, weight};
use super::{Counted, Rule};
use crate::redis::Redis;

/// Keys: the buckets. Arguments: number of commands wanted, then weight and depth of each bucket in microseconds.
/// Returns the number granted, then the microseconds until each bucket is empty.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local time = redis.call('TIME')
          local now, granted, full, wild = time[1] * 1000000 + time[2], tonumber(ARGV[1]), {}, {}
          for i, key in ipairs(KEYS) do
            local weight, depth = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
            local kept = redis.pcall('GET', key)
            local emptied = type(kept) == 'string' and tonumber(kept) or now
            if emptied ~= emptied then emptied = now end
            wild[i] = emptied - now > depth
            full[i] = math.min(math.max(emptied - now, 0), depth)
            granted = math.min(granted, math.floor((depth - full[i]) / weight))
          end
          local answer = { granted }
          for i, key in ipairs(KEYS) do
            full[i] = full[i] + granted * tonumber(ARGV[2 * i])
            if granted > 0 or wild[i] then
              redis.call('SET', key, string.format('%.0f', now + full[i]), 'PX', math.ceil(full[i] / 1000))
            end
            answer[i + 1] = full[i]
          end
          return answer",
    )
});

/// Grants and counts as many of the wanted commands as all rules permit; `None` if Redis does not answer.
pub(super) async fn take(redis: &Redis, rules: &[Rule], wanted: u32) -> Option<Counted> {
    let mut take = TAKE.prepare_invoke();
    take.arg(wanted);
    for rule in rules {
        take.key(redis.key(&["limit", &rule.name])).arg(weight(rule.quota)).arg(depth(rule.quota));
    }
    let answer: Vec<i64> = redis.execute(|mut redis| async move { take.invoke_async(&mut redis).await }).await?;
    let (granted, full) = answer.split_first()?;
    let buckets = rules.iter().zip(full).map(|(rule, full)| Bucket::emptied_at(*full, 0, rule.quota)).collect();
    Some(Counted { granted: u32::try_from(*granted).ok()?.min(wanted), buckets })
}
