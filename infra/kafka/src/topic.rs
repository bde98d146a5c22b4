//! The topic: made with explicit settings, and refused where it is not one partition per lane.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::sleep;

use crate::outage::{Outage, words};
use crate::settings::{LANES, Settings};

/// How long Kafka may take to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// How long to listen for what connections met.
const LISTEN: Duration = Duration::from_millis(20);
/// How long a new topic is left alone.
const SETTLE: Duration = Duration::from_millis(300);

/// Why the topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    #[error(
        "the topic `{topic}` has {partitions} partitions and must have {LANES}, one per lane: delete it, so that the \
         relay makes it anew and fills it from the log, or set another topic"
    )]
    Partitions { topic: String, partitions: usize },
    #[error("the topic `{topic}` cannot be made: {reason}; mend that, or make it with {LANES} partitions by hand")]
    Refused { topic: String, reason: String },
    #[error("Kafka does not answer: {0}")]
    NoAnswer(String),
    #[error("Kafka does not answer: {}", words(.0))]
    Away(#[from] KafkaError),
}

impl TopicError {
    /// Whether it may pass by itself.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::NoAnswer(_) | Self::Away(_))
    }
}

/// Makes the topic where it is missing. Blocks for as long as Kafka takes to answer.
pub(crate) async fn ensure(settings: &Settings, outage: &Outage) -> Result<(), TopicError> {
    let known = partitions(settings, outage).await?;
    if known.is_none() {
        let admin: AdminClient<Outage> = settings.client().create_with_context(outage.clone())?;
        make(&admin, settings).await?;
        // Its partitions need a moment to find their leaders; whoever asks too early is told that there are none.
        sleep(SETTLE).await;
    }
    check(settings, known.unwrap_or_else(|| usize::from(LANES.unsigned_abs())))
}

/// What whoever checks a configuration is told about Kafka; an error where the relay would wait for it.
pub async fn look(settings: &Settings) -> Result<&'static str, TopicError> {
    match partitions(settings, &Outage::of("Kafka")).await? {
        None => Ok("reachable; the relay makes the topic"),
        Some(known) => check(settings, known).map(|()| "reachable"),
    }
}

/// Refuses a topic that was made otherwise.
pub(crate) fn check(settings: &Settings, partitions: usize) -> Result<(), TopicError> {
    if partitions == usize::from(LANES.unsigned_abs()) {
        return Ok(());
    }
    Err(TopicError::Partitions { topic: settings.topic.clone(), partitions })
}

/// How many partitions the topic has. Asks for all topics: a broker that makes topics by itself would make the one
/// that is asked for by name, with the wrong number of partitions.
///
/// The one who asks is a consumer, because an `AdminClient` never hears what its connections meet.
pub(crate) async fn partitions(settings: &Settings, outage: &Outage) -> Result<Option<usize>, TopicError> {
    let consumer: BaseConsumer<Outage> = settings.client().create_with_context(outage.clone())?;
    let (topic, outage) = (settings.topic.clone(), outage.clone());
    blocking(move || {
        let metadata = consumer.fetch_metadata(None, PATIENCE).map_err(|error| {
            // What was met is heard only while somebody listens. Errors alone come, as nothing is subscribed to.
            while consumer.poll(LISTEN).is_some() {}
            TopicError::NoAnswer(outage.why(&error))
        })?;
        outage.answered();
        let found = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none());
        Ok(found.map(|found| found.partitions().len()).filter(|partitions| *partitions > 0))
    })
    .await
}

async fn make(admin: &AdminClient<Outage>, settings: &Settings) -> Result<(), TopicError> {
    let retention = settings.retention_ms.to_string();
    let in_sync = settings.in_sync_least().to_string();
    let most = settings.record_bytes_most.to_string();
    let topic = NewTopic::new(&settings.topic, i32::from(LANES), TopicReplication::Fixed(settings.replication))
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention)
        .set("min.insync.replicas", &in_sync)
        // As the relay has compressed it.
        .set("compression.type", "producer")
        .set("max.message.bytes", &most)
        // Retention goes by the day a record came. By the day of the event, an old log would be deleted on arrival.
        .set("message.timestamp.type", "LogAppendTime");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let made = admin.create_topics([&topic], &options).await?;
    match made.into_iter().next() {
        // Another relay was faster.
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((topic, error))) => Err(TopicError::Refused { topic, reason: words(&KafkaError::AdminOp(error)) }),
        _ => {
            tracing::info!(topic = settings.topic, replication = settings.replication, "made the topic");
            Ok(())
        }
    }
}

/// Runs what waits for Kafka on a thread that may wait.
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
