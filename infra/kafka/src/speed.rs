//! Throughput of the relay, compared with a bare producer that sends the same records.

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

use crate::availability::Availability;
use crate::leases::Leases;
use crate::record::headers;
use crate::relay::Relay;
use crate::settings::Settings;
use crate::topic::{self, REQUEST_TIMEOUT, TopicError, blocking};

/// Pause between two checks of the length of the topic. Negligible in runs that take seconds.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(1);

/// Time from the start of a relay until an empty topic holds this number of records.
pub async fn relayed(
    settings: &Settings,
    history: impl History + 'static,
    leases: Leases,
    records: i64,
) -> Result<Duration, TopicError> {
    let lanes = history.heads().await?.len();
    topic::ensure(settings, lanes, &Availability::new("Kafka")).await?;
    let consumer: Arc<BaseConsumer> = Arc::new(settings.client().create()?);
    let started = Instant::now();
    let stop = CancellationToken::new();
    let mut running = tokio::spawn(Relay::new(settings.clone(), history, leases).run(stop.clone()));
    while record_count(&consumer, &settings.topic, lanes).await? < records {
        tokio::select! {
            _ = &mut running => return Err(KafkaError::Canceled.into()),
            () = sleep(POLL_INTERVAL) => {}
        }
    }
    let elapsed = started.elapsed();
    stop.cancel();
    running.await.map_err(|_| KafkaError::Canceled)?;
    Ok(elapsed)
}

/// Records as the relay builds them, ready to be sent.
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

/// Time that a producer with the relay's settings takes for records, built beforehand, of a log with this number of lanes.
pub async fn bare(settings: &Settings, lanes: usize, records: Records) -> Result<Duration, TopicError> {
    topic::ensure(settings, lanes, &Availability::new("Kafka")).await?;
    let producer: ThreadedProducer<DefaultProducerContext> = settings.producer().create()?;
    let started = Instant::now();
    for Record { partition, key, payload, headers } in records.0 {
        let mut record =
            BaseRecord::to(&settings.topic).partition(partition).key(&key).payload(&*payload).headers(headers);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            sleep(QUEUE_FULL_PAUSE).await;
        }
    }
    blocking(move || producer.flush(Duration::from_secs(60))).await?;
    Ok(started.elapsed())
}

/// Number of records written to the topic so far.
async fn record_count(consumer: &Arc<BaseConsumer>, topic: &str, lanes: usize) -> Result<i64, KafkaError> {
    let (consumer, topic) = (consumer.clone(), topic.to_owned());
    blocking(move || {
        // A partition without a leader is new and empty.
        let end = |lane| consumer.fetch_watermarks(&topic, lane, REQUEST_TIMEOUT).map_or(0, |(_, end)| end);
        Ok((0..).take(lanes).map(end).sum())
    })
    .await
}
