//! A real Kafka for one test, to be killed, wiped and started again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use tokio::sync::{Semaphore, SemaphorePermit};
use xtask::servers::{Program, Servers, in_folder};

static BROKERS: AtomicU32 = AtomicU32::new(0);
/// One at a time: a Java machine that starts takes both cores of a laptop, and others would run out of time meanwhile.
pub(crate) static TURN: Semaphore = Semaphore::const_new(1);

pub(crate) struct Broker {
    /// Where it listens, also after it was started again.
    pub(crate) address: String,
    servers: Servers,
    folder: PathBuf,
    _turn: SemaphorePermit<'static>,
}

impl Broker {
    pub(crate) async fn start() -> Result<Self> {
        let turn = TURN.acquire().await?;
        tokio::task::spawn_blocking(move || {
            let number = BROKERS.fetch_add(1, Ordering::Relaxed);
            let folder = std::env::temp_dir().join(format!("cartulary-broker-{}-{number}", std::process::id()));
            let servers = in_folder(&folder)?;
            let mut broker = Self { address: String::new(), servers, folder, _turn: turn };
            broker.address = broker.servers.up(&[Program::Kafka])?.first().context("one server")?.address.clone();
            Ok(broker)
        })
        .await?
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&self) -> Result<()> {
        let known = self.servers.status()?;
        let kafka = known.iter().find(|server| server.program == Program::Kafka).context("Kafka was started")?;
        kafka.signal("KILL")?;
        while kafka.runs() {
            std::thread::yield_now();
        }
        Ok(())
    }

    /// Throws everything away that it kept.
    pub(crate) fn wipe(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.folder.join("kafka/data"))?)
    }

    pub(crate) async fn start_again(&self) -> Result<()> {
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
