//! What `cartulary doctor` says about a Redis.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::Client;

const LOOKED_WITHIN: Duration = Duration::from_secs(2);

/// Its version and what it does when its memory is full; an error where it does not answer.
pub async fn look(client: &Client) -> Result<String> {
    let looking = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("INFO").query_async::<String>(&mut connection).await
    };
    let info = tokio::time::timeout(LOOKED_WITHIN, looking).await.context("no answer within two seconds")??;
    let told = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("unknown").trim().to_owned()
    };
    Ok(format!("reachable, version {}, when full: {}", told("redis_version"), told("maxmemory_policy")))
}
