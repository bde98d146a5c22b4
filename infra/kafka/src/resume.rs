//! Resumption of a lane: after the last record of its partition that is also in the log.

use projections::ports::{Checkpoint, Fault, History};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::availability::Availability;
use crate::record::decode;
use crate::settings::Settings;
use crate::topic::REQUEST_TIMEOUT;

/// Factor by which the searched end of the partition grows each time it holds no record of a relay.
const SEARCH_GROWTH: i64 = 16;

/// End of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionEnd {
    /// Checkpoint of the last record that a relay wrote.
    pub(crate) last: Option<Checkpoint>,
    /// Offset of the next record.
    pub(crate) end: i64,
}

/// Reads the last record that a relay wrote with a position up to `head`. A later position was lost by the log or is
/// forged, so it does not show how much of the log Kafka holds. Blocks the thread.
pub(crate) fn read_partition_end(
    settings: &Settings,
    kafka: &Availability,
    lane: i16,
    head: i64,
) -> Result<PartitionEnd, KafkaError> {
    let mut config = settings.client();
    // librdkafka requires the name of a group, which is never joined. It has to report the end of the partition,
    // because the offsets before that end need not belong to records.
    config.set("group.id", "cartulary.relay").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Availability> = config.create_with_context(kafka.clone())?;
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

/// Last record of a relay with a position up to `head`, at the offset `from` or later.
fn last_from(
    consumer: &BaseConsumer<Availability>,
    topic: &str,
    (lane, head): (i16, i64),
    from: i64,
) -> Result<Option<Checkpoint>, KafkaError> {
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, i32::from(lane), Offset::Offset(from))?;
    consumer.assign(&assignment)?;
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

/// Last position up to `sent` that the partition and the log have in common, with its epoch in the log.
pub(crate) async fn last_common_checkpoint<H: History>(history: &H, sent: Checkpoint) -> Result<Checkpoint, Fault> {
    let lane = sent.lane;
    let epochs = history.epochs(lane).await?;
    let head = head(history, lane).await?;
    let common = if epochs.agrees(sent.position, sent.epoch) { sent.position } else { epochs.last_common(sent) };
    let position = common.clamp(0, head);
    if position < sent.position {
        tracing::warn!(
            lane,
            sent = sent.position,
            continuing_after = position,
            "the log was rewritten before the last record in Kafka; continuing after the last common position"
        );
    }
    if position == 0 {
        return Ok(Checkpoint::start(lane));
    }
    let at = history.events(lane, position - 1, 1).await?;
    let epoch = at.first().map_or(sent.epoch, |event| event.epoch);
    Ok(Checkpoint { lane, position, epoch })
}
