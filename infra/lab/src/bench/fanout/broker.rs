//! Kafka broker of a benchmark run.

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context, Result};
use servers::{Program, Servers};

/// A broker that is stopped when this value is dropped.
pub(super) struct KafkaBroker {
    /// `host:port`.
    pub(super) address: String,
    /// Closed when the start of Kafka, which cannot be cancelled, is finished.
    started: mpsc::Receiver<()>,
    servers: Servers,
}

impl KafkaBroker {
    pub(super) async fn start(folder: PathBuf, project: &Path) -> Result<Self> {
        let servers = Servers::in_folder(&folder, project)?;
        let ((starting_guard, started), up) = (mpsc::channel(), servers.clone());
        let mut broker = Self { address: String::new(), started, servers };
        let starting = tokio::task::spawn_blocking(move || {
            let started = up.up(&[Program::Kafka]);
            drop(starting_guard);
            started
        });
        broker.address = starting.await??.first().context("Kafka was not started")?.address.clone();
        Ok(broker)
    }

    /// Settings of this broker with a topic.
    pub(super) fn settings(&self, topic: &str) -> kafka::Settings {
        kafka::Settings { brokers: self.address.clone(), topic: topic.to_owned(), ..kafka::Settings::default() }
    }
}

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        // A broker that starts after it was stopped here would keep running.
        self.started.recv().ok();
        if let Err(error) = self.servers.down(&[Program::Kafka]) {
            tracing::warn!(%error, "Kafka could not be stopped");
        }
    }
}
