//! Where a relay goes on: after what the partition really holds, as far as the log of today agrees.

use projections::ports::{Checkpoint, Fault, History};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::outage::Outage;
use crate::record::decode;
use crate::settings::Settings;
use crate::topic::PATIENCE;

/// How many times further back the search goes each time it finds only foreign records.
const FURTHER: i64 = 16;

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Of its last record of ours.
    pub(crate) last: Option<Checkpoint>,
    /// The offset that the next record gets.
    pub(crate) end: i64,
}

/// Reads the last record of ours, as far as the log reaches today: what lies beyond was lost or is somebody's joke, and
/// tells nothing about what Kafka has of the log. Blocks.
pub(crate) fn held(settings: &Settings, outage: &Outage, lane: i16, head: i64) -> Result<Held, KafkaError> {
    let mut config = settings.client();
    // The group is never joined, but librdkafka asks for a name. The end of the partition is told, because an offset
    // below it need not belong to a record.
    config.set("group.id", "cartulary.relay").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Outage> = config.create_with_context(outage.clone())?;
    let (low, end) = consumer.fetch_watermarks(&settings.topic, i32::from(lane), PATIENCE)?;
    let mut back = 1;
    loop {
        let from = (end - back).max(low);
        let last = if from < end { last_from(&consumer, &settings.topic, (lane, head), from)? } else { None };
        if last.is_some() || from == low {
            return Ok(Held { last, end });
        }
        back *= FURTHER;
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
    let (mut last, mut heard) = (None, Instant::now());
    loop {
        // An early `None` says nothing about the partition, so the clock alone tells when Kafka is away.
        match consumer.poll(PATIENCE) {
            Some(Ok(record)) => {
                heard = Instant::now();
                if let Some(event) = decode(&record).ok().filter(|event| event.position <= head) {
                    last = Some(Checkpoint { lane, position: event.position, epoch: event.epoch });
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(error)) => return Err(error),
            None if heard.elapsed() > PATIENCE => {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            }
            None => {}
        }
    }
}

/// How far the log of a lane reaches.
pub(crate) async fn head<H: History>(history: &H, lane: i16) -> Result<i64, Fault> {
    Ok(history.heads().await?.iter().find(|head| head.lane == lane).map_or(0, |head| head.position))
}

/// The last position of the partition that today's log shares, with the epoch it has there.
pub(crate) async fn common<H: History>(history: &H, seen: Checkpoint) -> Result<Checkpoint, Fault> {
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
            "the log was rewritten behind what Kafka holds; going on from the last common position"
        );
    }
    if position == 0 {
        return Ok(Checkpoint::start(lane));
    }
    let at = history.events(lane, position - 1, 1).await?;
    let epoch = at.first().map_or(seen.epoch, |event| event.epoch);
    Ok(Checkpoint { lane, position, epoch })
}
