//! A real Kafka for one test, which can be killed, wiped and restarted.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use tokio::sync::{Semaphore, SemaphorePermit};
use xtask::servers::{Program, Servers, in_folder};

static BROKERS: AtomicU32 = AtomicU32::new(0);
/// Permit of the one Kafka that may run at a time in a test binary: its start takes all the time of two cores.
pub static KAFKA_PERMIT: Semaphore = Semaphore::const_new(1);

/// Kafka broker of one test; stopped and deleted on drop.
pub struct Broker {
    /// `host:port`; it stays the same across restarts.
    pub address: String,
    servers: Servers,
    folder: PathBuf,
    _permit: SemaphorePermit<'static>,
}

impl Broker {
    /// Starts it in an empty folder and waits until it answers.
    pub async fn start() -> Result<Self> {
        let permit = KAFKA_PERMIT.acquire().await?;
        tokio::task::spawn_blocking(move || {
            let number = BROKERS.fetch_add(1, Ordering::Relaxed);
            let folder = std::env::temp_dir().join(format!("cartulary-broker-{}-{number}", std::process::id()));
            let servers = in_folder(&folder)?;
            let mut broker = Self { address: String::new(), servers, folder, _permit: permit };
            broker.address = broker.servers.up(&[Program::Kafka])?.first().context("one server")?.address.clone();
            Ok(broker)
        })
        .await?
    }

    /// Kills the broker and waits until the process is gone.
    pub fn kill(&self) -> Result<()> {
        let known = self.servers.status()?;
        let kafka = known.iter().find(|server| server.program == Program::Kafka).context("Kafka was started")?;
        kafka.signal("KILL")?;
        while kafka.runs() {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Deletes its data. The broker must have been killed before.
    pub fn wipe(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.folder.join("kafka/data"))?)
    }

    /// Starts it again at the same address.
    pub async fn restart(&self) -> Result<()> {
        let servers = self.servers.clone();
        tokio::task::spawn_blocking(move || servers.up(&[Program::Kafka])).await??;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.servers.down(&[Program::Kafka]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
