//! Server information of a Redis, for `cartulary doctor`.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::Client;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Version and eviction policy of a server; an error if it does not answer.
pub async fn server_info(client: &Client) -> Result<String> {
    let request = async {
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("INFO").query_async::<String>(&mut connection).await
    };
    let info = tokio::time::timeout(TIMEOUT, request).await.context("no answer within two seconds")??;
    let field = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or("unknown").trim().to_owned()
    };
    Ok(format!("reachable, version {}, when full: {}", field("redis_version"), field("maxmemory_policy")))
}
