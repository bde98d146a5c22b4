//! What can be set about Kafka, and what is never left to librdkafka's defaults: several of them lose data.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::access::{self, Login, Tls};

/// One partition each. Lane *i* is partition *i*.
pub const LANES: i16 = 16;

/// Where Kafka is and how the topic is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port`, several of them with commas between.
    pub brokers: String,
    /// How they are reached over TLS; in the clear without it.
    pub tls: Option<Tls>,
    /// Who we are for them, where they ask.
    pub login: Option<Login>,
    pub topic: String,
    /// On how many brokers every record is kept.
    pub replication: i32,
    /// How long Kafka keeps a record. Who comes later reads the log.
    pub retention_ms: i64,
    /// The largest record. A larger event is left out and read from the log.
    pub record_bytes_most: usize,
    /// How long another relay waits before it takes over the lanes of one that was killed.
    pub lease_ms: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".into(),
            tls: None,
            login: None,
            topic: "cartulary.events".into(),
            replication: 1,
            retention_ms: 7 * 24 * 60 * 60 * 1000,
            record_bytes_most: 4 * 1024 * 1024,
            lease_ms: 3_000,
        }
    }
}

impl Settings {
    /// What every client needs.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "cartulary");
        // What connections meet is told in the log alone, and by default in none of ours.
        config.set_log_level(RDKafkaLogLevel::Info).set("log.thread.name", "false");
        access::apply(&mut config, self.tls.as_ref(), self.login.as_ref());
        // Kafka may be away for long; knocking twice a second finds it soon and costs nothing.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
        // A topic that was deleted and made anew is noticed through its metadata.
        config.set("topic.metadata.refresh.interval.ms", "5000").set("metadata.max.age.ms", "15000");
        config
    }

    /// A producer that repeats nothing, reorders nothing and gives nothing up. The relay bounds what it holds.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("acks", "all");
        // Nothing times out: a record that was given up would be a hole. Whoever stops waiting drops the producer.
        config.set("message.timeout.ms", "0").set("topic.metadata.propagation.max.ms", "5000");
        config.set("linger.ms", "2").set("compression.type", "lz4");
        config.set("message.max.bytes", self.record_bytes_most.to_string());
        config.set("queue.buffering.max.kbytes", "65536");
        config
    }

    /// A consumer of a group whose offsets are written by us alone, and only as a hint.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", group).set("partition.assignment.strategy", "cooperative-sticky");
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest").set("check.crcs", "true");
        // A worker that was killed gives its lanes up in six seconds, the least that brokers allow; librdkafka would let
        // them rest for 45. A worker that lost its broker for longer than that waits as long for its own ghost.
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "1500");
        config.set("queued.max.messages.kbytes", "16384").set("fetch.wait.max.ms", "100");
        config
    }

    /// How many brokers must have a record before it counts: all but one, so that one may be away.
    pub(crate) fn in_sync_least(&self) -> i32 {
        (self.replication - 1).max(1)
    }
}
