//! A real Redis that is killed, frozen, filled and emptied.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge::redis::{ANSWERED_WITHIN, Redis};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use vault::OuterKey;
use xtask::servers::{Program, Server, Servers, in_folder};

use crate::process::free_address;
use crate::shop::eventually;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// What many questions to a Redis that is away may cost altogether, on a machine that does other things as well.
const NOTHING: Duration = Duration::from_millis(100);

/// One server for one test. It comes back on the port it had.
pub(crate) struct RedisServer {
    pub(crate) url: String,
    server: Server,
    servers: Servers,
    folder: PathBuf,
}

impl RedisServer {
    pub(crate) async fn start() -> Result<Self> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cartulary-redis-{}-{number}", std::process::id()));
        tokio::task::spawn_blocking(move || {
            let servers = in_folder(&folder)?;
            let server = servers.up(&[Program::Redis])?.pop().context("one server")?;
            Ok(Self { url: server.address.clone(), server, servers, folder })
        })
        .await?
    }

    /// Ends it without a chance to do anything.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.server.signal("KILL")?;
        eventually("Redis is gone", async || Ok(!self.server.answers())).await
    }

    pub(crate) fn freeze(&self) -> Result<()> {
        self.server.signal("STOP")
    }

    pub(crate) fn thaw(&self) -> Result<()> {
        self.server.signal("CONT")
    }

    /// Starts it again after it was killed.
    pub(crate) async fn come_back(&mut self) -> Result<()> {
        let servers = self.servers.clone();
        let up = tokio::task::spawn_blocking(move || servers.up(&[Program::Redis])).await??;
        let port = self.server.port;
        self.server = up.into_iter().find(|server| server.port == port).context("it kept its port")?;
        Ok(())
    }

    /// Does something behind everybody's back.
    pub(crate) async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let client = redis::Client::open(self.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words.first().context("a command")?);
        words[1..].iter().for_each(|word| _ = command.arg(word));
        Ok(command.query_async(&mut connection).await?)
    }

    /// The keys that contain this.
    pub(crate) async fn keys(&self, part: &str) -> Result<Vec<String>> {
        self.run(&["KEYS", &format!("cartulary:*{part}*")]).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.server.signal("KILL");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub(crate) async fn connected(url: &str) -> Result<Redis> {
    let outer = OuterKey::from_base64("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
    Redis::start(edge::redis::client(url, None)?, "test", &outer, CancellationToken::new()).await
}

async fn set(redis: &Redis, value: &str) -> Option<()> {
    let set = redis::cmd("SET").arg(redis.key(&["value"])).arg(value).to_owned();
    redis.ask(|mut redis| async move { set.exec_async(&mut redis).await }).await
}

async fn get(redis: &Redis) -> Option<String> {
    let get = redis::cmd("GET").arg(redis.key(&["value"])).to_owned();
    redis.ask(|mut redis| async move { get.query_async(&mut redis).await }).await
}

/// Asks very often and gets nothing; how long that took.
async fn ask_in_vain(redis: &Redis) -> Result<Duration> {
    let begun = Instant::now();
    for _ in 0..1_000 {
        ensure!(get(redis).await.is_none(), "something that is away answered");
    }
    Ok(begun.elapsed())
}

async fn answers(redis: &Redis) -> Result<()> {
    eventually("Redis is asked again", async || Ok(set(redis, "back").await.is_some())).await?;
    ensure!(redis.trouble().is_none() && get(redis).await.as_deref() == Some("back"), "{:?}", redis.trouble());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_costs_nothing_and_is_used_when_it_is_back() -> Result<()> {
    let nowhere = connected(&format!("redis://{}", free_address()?)).await?;
    assert!(nowhere.trouble().is_some_and(|trouble| trouble.contains("does not answer")));
    assert!(ask_in_vain(&nowhere).await? < NOTHING);

    let mut server = RedisServer::start().await?;
    let redis = connected(&server.url).await?;
    answers(&redis).await?;

    server.kill().await?;
    assert!(get(&redis).await.is_none());
    assert!(ask_in_vain(&redis).await? < NOTHING);
    server.come_back().await?;
    answers(&redis).await?;

    server.freeze()?;
    let begun = Instant::now();
    assert!(get(&redis).await.is_none());
    assert!(begun.elapsed() < ANSWERED_WITHIN + NOTHING, "{:?}", begun.elapsed());
    // It stays away for as long as it is frozen: connecting succeeds, answering does not.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ask_in_vain(&redis).await? < NOTHING);
    server.thaw()?;
    answers(&redis).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full_refuses_and_is_not_taken_for_away() -> Result<()> {
    let server = RedisServer::start().await?;
    let redis = connected(&server.url).await?;
    answers(&redis).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    assert!(set(&redis, "more").await.is_none());
    assert_eq!((get(&redis).await.as_deref(), redis.trouble()), (Some("back"), None));
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    assert!(set(&redis, "more").await.is_some());

    server.run::<()>(&["DEL", &redis.key(&["value"])]).await?;
    server.run::<()>(&["LPUSH", &redis.key(&["value"]), "a list"]).await?;
    assert_eq!((get(&redis).await, redis.trouble()), (None, None));
    assert!(edge::redis::look(&edge::redis::client(&server.url, None)?).await?.starts_with("reachable, version "));
    Ok(())
}
