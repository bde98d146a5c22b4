//! Feed: reads events from Kafka for a worker in a consumer group, in batches ordered within each lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use projections::ports::{Fault, History, RawEvent};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset, TopicPartitionList};
use tokio::time::{Instant, timeout_at};

use crate::outage::{Outage, text};
use crate::record::{Foreign, decode};
use crate::settings::Settings;
use crate::topic::{self, TopicError, blocking};

/// Timeout of a seek.
const SEEK_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of the metadata request that shows whether Kafka is back.
const METADATA_TIMEOUT: Duration = Duration::from_millis(500);

/// Events and reassignments that were received together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Events, ordered within each lane. Positions may repeat and may be missing; the worker compares them with its
    /// checkpoint.
    pub events: Vec<RawEvent>,
    /// Lanes assigned to this worker. Read their checkpoints again before processing the events: another worker has
    /// moved them.
    pub assigned: Vec<i16>,
    /// Lanes assigned to another worker. `events` has none of theirs.
    pub revoked: Vec<i16>,
    /// Number of records that no relay wrote. They are counted, logged and skipped.
    pub foreign: usize,
}

/// Membership of a worker in a consumer group.
///
/// Kafka's offsets are only a hint where to start: progress is recorded in the worker's own checkpoint, in one
/// transaction with the results of the events. A worker therefore repeats:
/// 1. Get the [`next`](Self::next) batch and pass it to the projector, which skips events before the checkpoint.
/// 2. Read the log where the projector finds a gap, up to the end of the log.
/// 3. [`commit`](Self::commit) the offsets.
///
/// A worker that receives nothing should read the log from time to time: the last event of a lane may be one that Kafka
/// does not hold.
pub struct Feed<H> {
    consumer: Arc<StreamConsumer<Group>>,
    history: H,
    settings: Settings,
    lanes: BTreeSet<i16>,
    /// Last known position of each lane of the log.
    heads: BTreeMap<i16, i64>,
    /// Offset and position of the last record received in each lane.
    last_records: BTreeMap<i16, (i64, i64)>,
    /// Batch being collected. Kept when a call is cancelled or fails.
    batch: Batch,
    foreign_logged: bool,
    /// The topic was missing at some time since lanes were last assigned to this worker.
    topic_was_missing: bool,
}

impl<H: History> Feed<H> {
    /// Joins a group. Lanes are assigned with the batches. The availability of Kafka is reported to `outage`, also when
    /// this call fails.
    pub async fn open(settings: &Settings, group: &str, history: H, outage: Outage) -> Result<Self, TopicError> {
        let partitions = topic::partitions(settings, &outage).await?;
        if let Some(partitions) = partitions {
            topic::check(settings, partitions)?;
        }
        let context = Group { outage, changes: Arc::default() };
        let consumer: StreamConsumer<Group> = settings.consumer(group).create_with_context(context)?;
        let consumer = Arc::new(consumer);
        consumer.subscribe(&[&settings.topic])?;
        let (heads, last_records) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            consumer,
            history,
            settings: settings.clone(),
            lanes: BTreeSet::new(),
            heads,
            last_records,
            batch: Batch::default(),
            foreign_logged: false,
            topic_was_missing: partitions.is_none(),
        })
    }

    /// Availability of Kafka.
    pub fn outage(&self) -> &Outage {
        &self.consumer.context().outage
    }

    /// Requests the topic's metadata, which ends an outage that no record would end. Returns true if the topic was
    /// created after this feed was opened: librdkafka may never notice a topic that is created while it joins the
    /// group, so a worker to which no lanes are assigned should open a new feed.
    pub async fn check_topic(&mut self) -> bool {
        let (consumer, topic) = (self.consumer.clone(), self.settings.topic.clone());
        let answer = blocking(move || {
            let metadata = consumer.fetch_metadata(Some(&topic), METADATA_TIMEOUT)?;
            Ok::<_, KafkaError>(metadata.topics().first().is_some_and(|found| !found.partitions().is_empty()))
        });
        let exists = match answer.await {
            Ok(exists) => {
                self.outage().back();
                exists
            }
            Err(error) => {
                self.outage().away(&self.outage().why(&error));
                false
            }
        };
        self.topic_was_missing |= !exists;
        exists && self.topic_was_missing
    }

    /// Lanes assigned to this worker.
    pub fn lanes(&self) -> &BTreeSet<i16> {
        &self.lanes
    }

    /// Receives up to `most` events; fewer, or none, if no more arrive within the time. Cancel-safe.
    pub async fn next(&mut self, most: usize, within: Duration) -> Result<Batch, Fault> {
        let until = Instant::now() + within;
        while self.batch.events.len() < most {
            let consumer = self.consumer.clone();
            // Waits for the first record only; records of the same fetch are buffered already.
            let received = match self.batch.events.is_empty() {
                true => timeout_at(until, consumer.recv()).await.ok(),
                false => consumer.recv().now_or_never(),
            };
            self.take_changes();
            match received {
                Some(Ok(record)) => self.take(&record),
                Some(Err(error)) => {
                    let outage = &consumer.context().outage;
                    outage.away(&outage.why(&error));
                }
                None => break,
            }
            // Foreign records and errors add no events, so they must not prolong the call without end.
            if Instant::now() > until {
                break;
            }
        }
        self.drop_events_beyond_log().await?;
        Ok(std::mem::take(&mut self.batch))
    }

    /// Continues after a position. The offset is estimated from the last record received, or is the partition's first
    /// if there is none. If it is too low, records repeat; if it is too high, the worker detects a gap.
    pub async fn seek(&self, lane: i16, after: i64) -> Result<(), KafkaError> {
        let estimate = self.last_records.get(&lane).map(|(offset, position)| offset - (position - after));
        let offset =
            estimate.filter(|offset| *offset >= 0).map_or(Offset::Beginning, |offset| Offset::Offset(offset + 1));
        let (consumer, topic) = (self.consumer.clone(), self.settings.topic.clone());
        blocking(move || consumer.seek(&topic, i32::from(lane), offset, SEEK_TIMEOUT)).await
    }

    /// Commits the offsets of all events returned so far, as a hint for the next worker on these lanes.
    pub fn commit(&self) {
        match self.consumer.commit_consumer_state(CommitMode::Async) {
            // Nothing to commit.
            Ok(()) | Err(KafkaError::ConsumerCommit(rdkafka::types::RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => tracing::debug!(error = text(&error), "offsets cannot be committed"),
        }
    }

    /// Leaves the group, so that its lanes are reassigned at once instead of after the session timeout of 6 s.
    pub async fn close(self) {
        let consumer = self.consumer;
        tokio::task::spawn_blocking(move || drop(consumer)).await.ok();
    }

    fn take_changes(&mut self) {
        let batch = &mut self.batch;
        for change in self.consumer.context().take_changes() {
            match change {
                Change::Assigned(lanes) => {
                    self.topic_was_missing &= lanes.is_empty();
                    self.lanes.extend(&lanes);
                    batch.assigned.extend(lanes);
                }
                Change::Revoked(lanes) => {
                    batch.events.retain(|event| !lanes.contains(&event.lane));
                    batch.assigned.retain(|lane| !lanes.contains(lane));
                    self.lanes.retain(|lane| !lanes.contains(lane));
                    self.last_records.retain(|lane, _| !lanes.contains(lane));
                    batch.revoked.extend(lanes);
                }
            }
        }
    }

    fn take(&mut self, record: &BorrowedMessage<'_>) {
        // Once per batch is enough.
        if self.batch.events.is_empty() {
            self.consumer.context().outage.back();
        }
        match decode(record) {
            // A buffered record of a lane that was revoked meanwhile.
            Ok(event) if !self.lanes.contains(&event.lane) => {}
            Ok(event) => {
                self.last_records.insert(event.lane, (record.offset(), event.position));
                self.batch.events.push(event);
            }
            Err(foreign) => self.count(&foreign),
        }
    }

    /// Drops events beyond the end of the log. Reads the heads of the log only if an event is beyond the known ones.
    async fn drop_events_beyond_log(&mut self) -> Result<(), Fault> {
        let beyond = |heads: &BTreeMap<i16, i64>, event: &RawEvent| {
            heads.get(&event.lane).is_none_or(|head| event.position > *head)
        };
        if self.batch.events.iter().any(|event| beyond(&self.heads, event)) {
            let heads = self.history.heads().await?;
            self.heads = heads.into_iter().map(|head| (head.lane, head.position)).collect();
        }
        let events = std::mem::take(&mut self.batch.events);
        let (unknown, known): (Vec<_>, _) = events.into_iter().partition(|event| beyond(&self.heads, event));
        self.batch.events = known;
        for RawEvent { lane, position, .. } in unknown {
            let head = self.heads.get(&lane).copied().unwrap_or(0);
            self.count(&Foreign::BeyondLog { lane, position, head });
        }
        Ok(())
    }

    fn count(&mut self, foreign: &Foreign) {
        self.batch.foreign += 1;
        metrics::counter!("cartulary_foreign_records_total", "why" => foreign.label()).increment(1);
        if !std::mem::replace(&mut self.foreign_logged, true) {
            tracing::warn!(
                topic = self.settings.topic,
                %foreign,
                "the topic holds a record that no relay wrote; it is skipped, and later ones will be without a \
                 message: see cartulary_foreign_records_total"
            );
        }
    }
}

/// A reassignment of lanes by the group.
#[derive(Debug)]
enum Change {
    Assigned(Vec<i16>),
    Revoked(Vec<i16>),
}

/// Receives reassignments. librdkafka delivers them only while records are requested.
struct Group {
    outage: Outage,
    changes: Arc<Mutex<Vec<Change>>>,
}

impl Group {
    fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.outage.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.outage.error(error, reason);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let lanes = |list: &TopicPartitionList| {
            list.elements().iter().filter_map(|element| i16::try_from(element.partition()).ok()).collect()
        };
        let change = match rebalance {
            Rebalance::Assign(list) => Change::Assigned(lanes(list)),
            Rebalance::Revoke(list) => Change::Revoked(lanes(list)),
            Rebalance::Error(error) => {
                tracing::warn!(error = text(error), "the group cannot assign its lanes");
                return;
            }
        };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(error = text(&error), "offsets cannot be committed");
        }
    }
}
