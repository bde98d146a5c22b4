//! A Kafka of the bench's own.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context, Result};
use servers::{Program, Servers};

/// Ends with the bench, whatever ends that.
pub(super) struct Broker {
    /// `host:port`.
    pub(super) address: String,
    /// Closed once Kafka is no longer on its way up, from where nobody can call it back.
    started: mpsc::Receiver<()>,
    servers: Servers,
}

impl Broker {
    pub(super) async fn start(folder: PathBuf, house: &Path) -> Result<Self> {
        let servers = Servers::in_folder(&folder, house)?;
        let ((under_way, started), up) = (mpsc::channel(), servers.clone());
        let mut broker = Self { address: String::new(), started, servers };
        let starting = tokio::task::spawn_blocking(move || {
            let started = up.up(&[Program::Kafka]);
            drop(under_way);
            started
        });
        broker.address = starting.await??.first().context("one server was started")?.address.clone();
        Ok(broker)
    }

    /// How to reach it, with a topic of one run's own.
    pub(super) fn settings(&self, topic: &str) -> kafka::Settings {
        kafka::Settings { brokers: self.address.clone(), topic: topic.to_owned(), ..kafka::Settings::default() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // What is started after this would stay behind.
        self.started.recv().ok();
        if let Err(error) = self.servers.down(&[Program::Kafka]) {
            tracing::warn!(%error, "Kafka goes on");
        }
    }
}
