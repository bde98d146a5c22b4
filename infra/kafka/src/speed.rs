//! How fast the relay fills Kafka, beside a bare producer with the same records.

use std::sync::Arc;
use std::time::Duration;

use projections::ports::{History, RawEvent};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::leases::Leases;
use crate::outage::Outage;
use crate::record::headers;
use crate::relay::Relay;
use crate::settings::{LANES, Settings};
use crate::topic::{self, PATIENCE, TopicError, blocking};

/// How often Kafka is asked what it holds. A hundredth of a second is lost in a run of seconds.
const LOOK: Duration = Duration::from_millis(20);
const QUEUE_PAUSE: Duration = Duration::from_millis(1);

/// How long a relay takes from its start until an empty topic holds this many records.
pub async fn relayed(
    settings: &Settings,
    history: impl History + 'static,
    leases: Leases,
    records: i64,
) -> Result<Duration, TopicError> {
    topic::ensure(settings, &Outage::of("Kafka")).await?;
    let consumer: Arc<BaseConsumer> = Arc::new(settings.client().create()?);
    let since = Instant::now();
    let stop = CancellationToken::new();
    let mut running = tokio::spawn(Relay::new(settings.clone(), history, leases).run(stop.clone()));
    while held(&consumer, &settings.topic).await? < records {
        tokio::select! {
            _ = &mut running => return Err(KafkaError::Canceled.into()),
            () = sleep(LOOK) => {}
        }
    }
    let taken = since.elapsed();
    stop.cancel();
    running.await.map_err(|_| KafkaError::Canceled)?;
    Ok(taken)
}

/// Records as a relay would make them, with everything there that a producer needs.
pub struct Records(Vec<Record>);

struct Record {
    partition: i32,
    key: String,
    payload: Box<str>,
    headers: OwnedHeaders,
}

impl Records {
    pub fn of(events: &[RawEvent]) -> Self {
        let record = |event: &RawEvent| Record {
            partition: i32::from(event.lane),
            key: event.stream.to_string(),
            payload: event.payload.clone(),
            headers: headers(event),
        };
        Self(events.iter().map(record).collect())
    }
}

/// How long a producer with the relay's settings takes for records that are ready before it begins.
pub async fn bare(settings: &Settings, records: Records) -> Result<Duration, TopicError> {
    topic::ensure(settings, &Outage::of("Kafka")).await?;
    let producer: ThreadedProducer<DefaultProducerContext> = settings.producer().create()?;
    let since = Instant::now();
    for Record { partition, key, payload, headers } in records.0 {
        let mut record =
            BaseRecord::to(&settings.topic).partition(partition).key(&key).payload(&*payload).headers(headers);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            sleep(QUEUE_PAUSE).await;
        }
    }
    blocking(move || producer.flush(Duration::from_secs(60))).await?;
    Ok(since.elapsed())
}

/// How many records the topic was given so far.
async fn held(consumer: &Arc<BaseConsumer>, topic: &str) -> Result<i64, KafkaError> {
    let (consumer, topic) = (consumer.clone(), topic.to_owned());
    blocking(move || {
        // A partition that has no leader yet holds nothing.
        let end = |lane| consumer.fetch_watermarks(&topic, lane, PATIENCE).map_or(0, |(_, end)| end);
        Ok((0..i32::from(LANES)).map(end).sum())
    })
    .await
}
