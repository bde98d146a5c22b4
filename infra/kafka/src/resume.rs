//! Resumption of a lane: after the last record in the partition that the current log agrees with.

use projections::ports::{Checkpoint, Fault, History};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::outage::Outage;
use crate::record::decode;
use crate::settings::Settings;
use crate::topic::REQUEST_TIMEOUT;

/// Factor by which the search range grows each time it holds foreign records only.
const SEARCH_GROWTH: i64 = 16;

/// End of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionEnd {
    /// Checkpoint of the last record that a relay wrote.
    pub(crate) last: Option<Checkpoint>,
    /// Offset of the next record.
    pub(crate) end: i64,
}

/// Reads the last record that a relay wrote with a position up to `head`. Later positions were lost by the log or are
/// forged, so they do not show how much of the log Kafka holds. Blocks.
pub(crate) fn read_partition_end(
    settings: &Settings,
    outage: &Outage,
    lane: i16,
    head: i64,
) -> Result<PartitionEnd, KafkaError> {
    let mut config = settings.client();
    // The group is never joined, but librdkafka requires a name. It has to report the end of the partition, because
    // offsets before the end need not belong to a record.
    config.set("group.id", "cartulary.relay").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Outage> = config.create_with_context(outage.clone())?;
    let (low, end) = consumer.fetch_watermarks(&settings.topic, i32::from(lane), REQUEST_TIMEOUT)?;
    let mut back = 1;
    loop {
        let from = (end - back).max(low);
        let last = if from < end { last_from(&consumer, &settings.topic, (lane, head), from)? } else { None };
        if last.is_some() || from == low {
            return Ok(PartitionEnd { last, end });
        }
        back *= SEARCH_GROWTH;
    }
}

fn last_from(
    consumer: &BaseConsumer<Outage>,
    topic: &str,
    (lane, head): (i16, i64),
    from: i64,
) -> Result<Option<Checkpoint>, KafkaError> {
    let mut place = TopicPartitionList::new();
    place.add_partition_offset(topic, i32::from(lane), Offset::Offset(from))?;
    consumer.assign(&place)?;
    let (mut last, mut last_answer) = (None, Instant::now());
    loop {
        // `poll` may return `None` early, so the timeout is measured here.
        match consumer.poll(REQUEST_TIMEOUT) {
            Some(Ok(record)) => {
                last_answer = Instant::now();
                if let Some(event) = decode(&record).ok().filter(|event| event.position <= head) {
                    last = Some(Checkpoint { lane, position: event.position, epoch: event.epoch });
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(error)) => return Err(error),
            None if last_answer.elapsed() > REQUEST_TIMEOUT => {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            }
            None => {}
        }
    }
}

/// Last position of a lane in the log.
pub(crate) async fn head<H: History>(history: &H, lane: i16) -> Result<i64, Fault> {
    Ok(history.heads().await?.iter().find(|head| head.lane == lane).map_or(0, |head| head.position))
}

/// Last position that the partition and the current log have in common, with its epoch in the log.
pub(crate) async fn last_common_checkpoint<H: History>(history: &H, seen: Checkpoint) -> Result<Checkpoint, Fault> {
    let lane = seen.lane;
    let epochs = history.epochs(lane).await?;
    let head = head(history, lane).await?;
    let agreed = if epochs.agrees(seen.position, seen.epoch) { seen.position } else { epochs.last_common(seen) };
    let position = agreed.clamp(0, head);
    if position < seen.position {
        tracing::warn!(
            lane,
            held = seen.position,
            common = position,
            "the log was rewritten before the last record in Kafka; continuing after the last common position"
        );
    }
    if position == 0 {
        return Ok(Checkpoint::start(lane));
    }
    let at = history.events(lane, position - 1, 1).await?;
    let epoch = at.first().map_or(seen.epoch, |event| event.epoch);
    Ok(Checkpoint { lane, position, epoch })
}
