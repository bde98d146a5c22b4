//! A Kafka of the bench's own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use servers::{Program, Servers};

/// Ends with the bench, whatever ends that.
pub(super) struct Broker {
    /// `host:port`.
    pub(super) address: String,
    servers: Servers,
}

impl Broker {
    pub(super) async fn start(folder: PathBuf, house: &Path) -> Result<Self> {
        let house = house.to_owned();
        tokio::task::spawn_blocking(move || {
            let servers = Servers::in_folder(&folder, &house)?;
            let started = servers.up(&[Program::Kafka]);
            // What was started and does not answer is ended by the drop.
            let mut broker = Self { address: String::new(), servers };
            broker.address = started?.first().context("one server was started")?.address.clone();
            Ok(broker)
        })
        .await?
    }

    /// How to reach it, with a topic of one run's own.
    pub(super) fn settings(&self, topic: &str) -> kafka::Settings {
        kafka::Settings { brokers: self.address.clone(), topic: topic.to_owned(), ..kafka::Settings::default() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Err(error) = self.servers.down(&[Program::Kafka]) {
            tracing::warn!(%error, "Kafka goes on");
        }
    }
}
