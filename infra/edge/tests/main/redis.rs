//! Redis that is away, frozen or full: no caller waits for it, and it is used again when it answers.

use anyhow::{Result, ensure};
use edge::redis::{ANSWER_TIMEOUT, Redis};
use lab::harness::{RedisServer, WAIT_TIMEOUT, connect_redis, eventually, free_address};
use tokio::time::timeout;

async fn set(redis: &Redis, value: &str) -> Option<()> {
    let set = redis::cmd("SET").arg(redis.key(&["value"])).arg(value).to_owned();
    redis.execute(|mut redis| async move { set.exec_async(&mut redis).await }).await
}

async fn get(redis: &Redis) -> Option<String> {
    let get = redis::cmd("GET").arg(redis.key(&["value"])).to_owned();
    redis.execute(|mut redis| async move { get.query_async(&mut redis).await }).await
}

/// Sends so many requests in vain that waiting for each answer, or connecting for each, would take ten times the bound.
async fn asks_do_not_wait(redis: &Redis) -> Result<()> {
    let count = 10 * (WAIT_TIMEOUT.as_millis() / ANSWER_TIMEOUT.as_millis());
    let asks = async {
        for _ in 0..count {
            ensure!(get(redis).await.is_none(), "a server that is away answered");
        }
        Ok(())
    };
    timeout(WAIT_TIMEOUT, asks).await?
}

async fn is_used_again(redis: &Redis) -> Result<()> {
    eventually("Redis is used again", async || {
        let is_set = set(redis, "back").await.is_some();
        Ok(is_set && get(redis).await.as_deref() == Some("back") && redis.outage().is_none())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_is_away_is_not_waited_for_and_is_used_when_it_is_back() -> Result<()> {
    let nowhere = connect_redis(&format!("redis://{}", free_address()?)).await?;
    assert!(nowhere.outage().is_some_and(|reason| reason.contains("does not answer")));
    asks_do_not_wait(&nowhere).await?;

    let mut server = RedisServer::start().await?;
    let redis = connect_redis(&server.url).await?;
    is_used_again(&redis).await?;
    server.kill().await?;
    eventually("its absence is noticed", async || Ok(get(&redis).await.is_none() && redis.outage().is_some())).await?;
    asks_do_not_wait(&redis).await?;
    server.restart().await?;
    is_used_again(&redis).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_redis_stays_away_until_it_answers_again() -> Result<()> {
    let server = RedisServer::start().await?;
    let redis = connect_redis(&server.url).await?;
    is_used_again(&redis).await?;
    server.freeze()?;
    // The first request waits for its bound; those after it do not wait.
    assert!(get(&redis).await.is_none());
    let reason = redis.outage();
    assert!(reason.is_some());
    asks_do_not_wait(&redis).await?;
    // Connecting to a frozen process succeeds and a PING is not answered: another reason than before.
    eventually("a new connection was tried", async || Ok(redis.outage() != reason)).await?;
    assert!(redis.outage().is_some());
    asks_do_not_wait(&redis).await?;
    server.thaw()?;
    is_used_again(&redis).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_redis_refuses_writes_and_is_still_asked() -> Result<()> {
    let server = RedisServer::start().await?;
    let redis = connect_redis(&server.url).await?;
    is_used_again(&redis).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await?;
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    assert!(set(&redis, "more").await.is_none());
    assert_eq!((get(&redis).await.as_deref(), redis.outage()), (Some("back"), None));
    server.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await?;
    assert!(set(&redis, "more").await.is_some());

    server.run::<()>(&["DEL", &redis.key(&["value"])]).await?;
    server.run::<()>(&["LPUSH", &redis.key(&["value"]), "a list"]).await?;
    assert_eq!((get(&redis).await, redis.outage()), (None, None));
    assert!(
        edge::redis::server_info(&edge::redis::client(&server.url, None)?).await?.starts_with("reachable, version ")
    );
    Ok(())
}
