//! The topic: created with explicit settings, and rejected unless it has one partition per lane.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::sleep;

use crate::outage::{Outage, text};
use projections::ports::LANES;

use crate::settings::Settings;

/// Timeout of requests to Kafka.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Poll timeout for errors of connections.
const POLL_TIMEOUT: Duration = Duration::from_millis(20);
/// Wait after the topic was created, in which its partitions elect their leaders.
const LEADER_ELECTION: Duration = Duration::from_millis(300);

/// Reason for which the topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error(
        "the topic `{topic}` has {partitions} partitions and must have {LANES}, one per lane: delete it, so that the \
         relay creates it again and fills it from the log, or set another topic"
    )]
    Partitions { topic: String, partitions: usize },
    #[error(
        "the topic `{topic}` cannot be created: {reason}; resolve this, or create it with {LANES} partitions by hand"
    )]
    Refused { topic: String, reason: String },
    #[error("Kafka does not answer: {0}")]
    NoAnswer(String),
    #[error("Kafka does not answer: {}", text(.0))]
    Away(#[from] KafkaError),
}

impl TopicError {
    /// The error can end without intervention.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Away(_))
    }
}

/// Creates the topic if it is missing. Waits for Kafka's answer.
pub(crate) async fn ensure(settings: &Settings, outage: &Outage) -> Result<(), TopicError> {
    let known = partitions(settings, outage).await?;
    if known.is_none() {
        let admin: AdminClient<Outage> = settings.client().create_with_context(outage.clone())?;
        create(&admin, settings).await?;
        // Before the election, metadata says that the partitions have no leader.
        sleep(LEADER_ELECTION).await;
    }
    check(settings, known.unwrap_or_else(|| usize::from(LANES.unsigned_abs())))
}

/// Result of a configuration check, for `cartulary doctor`. An error where the relay would have to wait.
pub async fn probe(settings: &Settings) -> Result<&'static str, TopicError> {
    match partitions(settings, &Outage::of("Kafka")).await? {
        None => Ok("reachable; the relay will create the topic"),
        Some(known) => check(settings, known).map(|()| "reachable"),
    }
}

/// Rejects a topic with another number of partitions.
pub(crate) fn check(settings: &Settings, partitions: usize) -> Result<(), TopicError> {
    if partitions == usize::from(LANES.unsigned_abs()) {
        return Ok(());
    }
    Err(TopicError::Partitions { topic: settings.topic.clone(), partitions })
}

/// Number of partitions of the topic. Requests the metadata of all topics: a broker with automatic topic creation would
/// create a topic that is requested by name, with the wrong number of partitions.
///
/// Uses a consumer, because an `AdminClient` does not report the errors of its connections.
pub(crate) async fn partitions(settings: &Settings, outage: &Outage) -> Result<Option<usize>, TopicError> {
    let consumer: BaseConsumer<Outage> = settings.client().create_with_context(outage.clone())?;
    let (topic, outage) = (settings.topic.clone(), outage.clone());
    blocking(move || {
        let metadata = consumer.fetch_metadata(None, REQUEST_TIMEOUT).map_err(|error| {
            // Connection errors are delivered by polling. Without a subscription, errors are all that it delivers.
            while consumer.poll(POLL_TIMEOUT).is_some() {}
            TopicError::NoAnswer(outage.why(&error))
        })?;
        outage.answered();
        let found = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none());
        Ok(found.map(|found| found.partitions().len()).filter(|partitions| *partitions > 0))
    })
    .await
}

async fn create(admin: &AdminClient<Outage>, settings: &Settings) -> Result<(), TopicError> {
    let retention = settings.retention_ms.to_string();
    let in_sync = settings.in_sync_least().to_string();
    let most = settings.record_bytes_most.to_string();
    let topic = NewTopic::new(&settings.topic, i32::from(LANES), TopicReplication::Fixed(settings.replication))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention)
        .set("min.insync.replicas", &in_sync)
        // Keeps the compression that the relay chose.
        .set("compression.type", "producer")
        .set("max.message.bytes", &most)
        // Retention counts from the arrival of a record. By event time, old events would be deleted on arrival.
        .set("message.timestamp.type", "LogAppendTime");
    let options = AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT)).request_timeout(Some(REQUEST_TIMEOUT));
    let created = admin.create_topics([&topic], &options).await?;
    match created.into_iter().next() {
        // Another relay has created it meanwhile.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((topic, error))) => Err(TopicError::Refused { topic, reason: text(&KafkaError::AdminOp(error)) }),
        _ => {
            tracing::info!(topic = settings.topic, replication = settings.replication, "created the topic");
            Ok(())
        }
    }
}

/// Runs a blocking call to Kafka on a thread for blocking work.
pub(crate) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<KafkaError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(KafkaError::Canceled.into()),
    }
}
