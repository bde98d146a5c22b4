//! Kafka settings, and the librdkafka options that must not keep their defaults, several of which lose data.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::security::{self, Login, Tls};

/// Connection to Kafka, and properties of the topic.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bootstrap servers: `host:port`, separated by commas.
    pub brokers: String,
    /// TLS; without it, connections are not encrypted.
    pub tls: Option<Tls>,
    /// SASL credentials, for brokers that require them.
    pub login: Option<Login>,
    /// Topic of the stored events, for read models and policies in other processes. That of the published events, for
    /// readers outside the engine, has this name and the suffix `.published`.
    pub topic: String,
    /// Replication factor of the topic.
    pub replication: i32,
    /// Retention of records. A consumer that falls further behind reads the log.
    pub retention_ms: i64,
    /// Size limit of a record. Larger events are left out of the topic, and consumers read them from the log.
    pub record_bytes_most: usize,
    /// Duration of a relay's lease on its lanes: the time until another relay takes over from one that was killed.
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
    /// The same settings for the topic of the published events.
    pub fn of_published(&self) -> Self {
        Self { topic: format!("{}.published", self.topic), ..self.clone() }
    }

    /// Options of all clients.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "cartulary");
        // librdkafka reports connection errors at level `info`, and by default not through the callback.
        config.set_log_level(RDKafkaLogLevel::Info).set("log.thread.name", "false");
        security::apply(&mut config, self.tls.as_ref(), self.login.as_ref());
        // Two attempts a second find a broker soon after it is back, and cost nothing during a long outage.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
        // Detects a broker that vanished without closing its connections after 10 s instead of 60 s.
        config.set("socket.timeout.ms", "10000").set("socket.connection.setup.timeout.ms", "5000");
        config.set("socket.keepalive.enable", "true");
        // Detects through metadata that the topic was deleted and recreated.
        config.set("topic.metadata.refresh.interval.ms", "5000").set("metadata.max.age.ms", "15000");
        config
    }

    /// Producer options: no duplicates, no reordering, no time limit for a record. The relay bounds the number of
    /// records in flight.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("acks", "all");
        // No message timeout: giving up a record would leave a gap. To stop waiting, the relay drops the producer.
        config.set("message.timeout.ms", "0").set("topic.metadata.propagation.max.ms", "5000");
        config.set("linger.ms", "2").set("compression.type", "lz4");
        config.set("message.max.bytes", self.record_bytes_most.to_string());
        config.set("queue.buffering.max.kbytes", "65536");
        config
    }

    /// Options of a consumer in a group. Offsets are committed explicitly, and only as a hint.
    pub(crate) fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", group).set("partition.assignment.strategy", "cooperative-sticky");
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest").set("check.crcs", "true");
        // The lanes of a killed consumer are reassigned after 6 s, the minimum that brokers allow (librdkafka's
        // default: 45 s). A consumer without a broker for longer gets lanes again after its old membership expired.
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "1500");
        config.set("queued.max.messages.kbytes", "16384").set("fetch.wait.max.ms", "100");
        config
    }

    /// `min.insync.replicas`: all replicas but one, so that one broker may be unavailable.
    pub(crate) fn in_sync_least(&self) -> i32 {
        (self.replication - 1).max(1)
    }
}
