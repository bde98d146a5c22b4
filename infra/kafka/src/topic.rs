//! The topic: created with explicit settings, and rejected unless it has one partition per lane.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::sleep;

use projections::ports::Fault;

use crate::availability::{Availability, text};
use crate::settings::Settings;

/// Timeout of requests to Kafka.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Time to wait for each error of a connection after a failed request.
const ERROR_POLL_TIMEOUT: Duration = Duration::from_millis(20);
/// Pause after the topic was created, in which its partitions elect their leaders.
const LEADER_ELECTION_PAUSE: Duration = Duration::from_millis(300);

/// Reason for which the topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error(
        "the topic `{topic}` has {partitions} partitions and must have {lanes}, one per lane: delete it, so that the \
         relay creates it again and fills it from the log, or set another topic"
    )]
    Partitions { topic: String, partitions: usize, lanes: usize },
    #[error(
        "the topic `{topic}` cannot be created: {reason}; resolve this, or create it with {lanes} partitions by hand"
    )]
    Refused { topic: String, lanes: usize, reason: String },
    #[error("Kafka does not answer: {0}")]
    NoAnswer(String),
    #[error("Kafka does not answer: {}", text(.0))]
    Kafka(#[from] KafkaError),
    /// The log does not say how many lanes it has.
    #[error(transparent)]
    Log(#[from] Fault),
}

impl TopicError {
    /// True if the error can end without intervention.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Kafka(_) | Self::Log(_))
    }
}

/// Creates the topics of stored and of published events if they are missing; an error if one has another number of
/// partitions than lanes.
pub(crate) async fn ensure_both(
    settings: &Settings,
    lanes: usize,
    availability: &Availability,
) -> Result<(), TopicError> {
    ensure(settings, lanes, availability).await?;
    ensure(&settings.of_published(), lanes, availability).await
}

/// Creates the topic if it is missing; an error if it has another number of partitions than lanes.
pub(crate) async fn ensure(settings: &Settings, lanes: usize, availability: &Availability) -> Result<(), TopicError> {
    let known = partitions(settings, availability).await?;
    if known.is_none() {
        let admin: AdminClient<Availability> = settings.client().create_with_context(availability.clone())?;
        create(&admin, settings, lanes).await?;
        // Before the election the partitions have no leader, and requests to them fail.
        sleep(LEADER_ELECTION_PAUSE).await;
    }
    check_partitions(settings, known.unwrap_or(lanes), lanes)
}

/// Checks the configuration for `cartulary doctor`. An error if a relay with these settings would have to wait. Without
/// the number of lanes, that of the partitions is not checked.
pub async fn probe(settings: &Settings, lanes: Option<usize>) -> Result<&'static str, TopicError> {
    let mut all_known = true;
    for settings in [settings, &settings.of_published()] {
        match partitions(settings, &Availability::new("Kafka")).await? {
            None => all_known = false,
            Some(known) => check_partitions(settings, known, lanes.unwrap_or(known))?,
        }
    }
    Ok(if all_known { "reachable" } else { "reachable; the relay will create the missing topics" })
}

/// Rejects a topic with another number of partitions than lanes.
pub(crate) fn check_partitions(settings: &Settings, partitions: usize, lanes: usize) -> Result<(), TopicError> {
    if partitions == lanes {
        return Ok(());
    }
    Err(TopicError::Partitions { topic: settings.topic.clone(), partitions, lanes })
}

/// Number of partitions of the topic. Requests the metadata of all topics: a broker with automatic topic creation would
/// create a topic that is requested by name, with the wrong number of partitions.
///
/// Uses a consumer, because an `AdminClient` does not report the errors of its connections.
pub(crate) async fn partitions(settings: &Settings, availability: &Availability) -> Result<Option<usize>, TopicError> {
    let consumer: BaseConsumer<Availability> = settings.client().create_with_context(availability.clone())?;
    let (topic, availability) = (settings.topic.clone(), availability.clone());
    blocking(move || {
        let metadata = consumer.fetch_metadata(None, REQUEST_TIMEOUT).map_err(|error| {
            // Connection errors are delivered by polling. Without a subscription nothing else is delivered.
            while consumer.poll(ERROR_POLL_TIMEOUT).is_some() {}
            TopicError::NoAnswer(availability.cause_of(&error))
        })?;
        availability.clear_connection_error();
        let found = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none());
        Ok(found.map(|found| found.partitions().len()).filter(|partitions| *partitions > 0))
    })
    .await
}

async fn create(admin: &AdminClient<Availability>, settings: &Settings, lanes: usize) -> Result<(), TopicError> {
    let retention = settings.retention_ms.to_string();
    let in_sync = settings.in_sync_least().to_string();
    let most = settings.record_bytes_most.to_string();
    let partitions = i32::try_from(lanes).unwrap_or(i32::MAX);
    let topic = NewTopic::new(&settings.topic, partitions, TopicReplication::Fixed(settings.replication))
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
        Some(Err((topic, error))) => {
            Err(TopicError::Refused { topic, lanes, reason: text(&KafkaError::AdminOp(error)) })
        }
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
