//! A real Redis for one test, which can be killed, frozen and restarted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use edge::redis::Redis;
use tokio_util::sync::CancellationToken;
use vault::OuterKey;
use xtask::servers::{Program, Server, Servers, in_folder};

use super::{OUTER_KEY, eventually};

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// Redis server of one test, which keeps its port across restarts; killed and deleted on drop.
pub struct RedisServer {
    /// `redis://host:port`.
    pub url: String,
    server: Server,
    servers: Servers,
    folder: PathBuf,
}

impl RedisServer {
    /// Starts it in an empty folder and waits until it answers.
    pub async fn start() -> Result<Self> {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("cartulary-redis-{}-{number}", std::process::id()));
        tokio::task::spawn_blocking(move || {
            let servers = in_folder(&folder)?;
            let server = servers.up(&[Program::Redis])?.pop().context("one server")?;
            Ok(Self { url: server.address.clone(), server, servers, folder })
        })
        .await?
    }

    /// Kills the server and waits until it no longer answers.
    pub async fn kill(&self) -> Result<()> {
        self.server.signal("KILL")?;
        eventually("Redis is gone", async || Ok(!self.server.answers())).await
    }

    /// Stops the process with `SIGSTOP`: the kernel still accepts connections, and nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.server.signal("STOP")
    }

    /// Continues a frozen process.
    pub fn thaw(&self) -> Result<()> {
        self.server.signal("CONT")
    }

    /// Starts it again after it was killed.
    pub async fn restart(&mut self) -> Result<()> {
        let servers = self.servers.clone();
        let up = tokio::task::spawn_blocking(move || servers.up(&[Program::Redis])).await??;
        let port = self.server.port;
        self.server = up.into_iter().find(|server| server.port == port).context("it kept its port")?;
        Ok(())
    }

    /// Runs a command over a connection of its own.
    pub async fn run<T: redis::FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let client = redis::Client::open(self.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words.first().context("a command")?);
        words[1..].iter().for_each(|word| _ = command.arg(word));
        Ok(command.query_async(&mut connection).await?)
    }

    /// The keys of the engine that contain a text.
    pub async fn keys(&self, part: &str) -> Result<Vec<String>> {
        self.run(&["KEYS", &format!("cartulary:*{part}*")]).await
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.server.signal("KILL");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Connects as a process of the engine does, in the namespace `test`.
pub async fn connect_redis(url: &str) -> Result<Redis> {
    let outer = OuterKey::from_base64(OUTER_KEY)?;
    Redis::start(edge::redis::client(url, None)?, "test", &outer, CancellationToken::new()).await
}
