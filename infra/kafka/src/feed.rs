//! Feed: reads events from Kafka for a consumer in a consumer group, in batches ordered within each lane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use projections::ports::{Fault, History, RawEvent};
use rdkafka::TopicPartitionList;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use tokio::time::{Instant, timeout_at};

use crate::availability::{Availability, text};
use crate::record::{Foreign, decode};
use crate::settings::Settings;
use crate::topic::{self, TopicError, blocking};

/// Timeout of the metadata request that shows whether Kafka answers.
const METADATA_TIMEOUT: Duration = Duration::from_millis(500);

/// Events and newly assigned lanes that were received together.
#[derive(Debug, Default)]
pub struct Batch {
    /// Events, ordered within each lane, of assigned lanes only. Positions may repeat and may be missing; the consumer
    /// compares them with its checkpoint.
    pub events: Vec<RawEvent>,
    /// Lanes newly assigned to this consumer. Read their checkpoints again before processing the events: another
    /// consumer may have moved them.
    pub assigned: Vec<i16>,
    /// Number of records that no relay wrote. They are skipped; the first one is logged.
    pub foreign: usize,
}

/// Member of a consumer group.
///
/// Kafka's offsets are only a hint where to start: progress is recorded in the consumer's own checkpoint, in one
/// transaction with the results of the events. A consumer therefore repeats:
/// 1. Get the [`next`](Self::next) batch and pass it to the projector, which skips events up to the checkpoint.
/// 2. Where the projector finds a gap, read the missing events from the log.
/// 3. [`commit`](Self::commit) the offsets.
///
/// A consumer that receives nothing should compare its checkpoints with the log from time to time: the last event of a
/// lane may be one that Kafka does not hold.
pub struct Feed<H> {
    consumer: Arc<StreamConsumer<GroupCallbacks>>,
    history: H,
    settings: Settings,
    lanes: BTreeSet<i16>,
    /// Last known position of each lane of the log.
    heads: BTreeMap<i16, i64>,
    /// Batch being collected. Kept when a call of [`next`](Self::next) is cancelled or fails.
    batch: Batch,
    foreign_logged: bool,
    /// The topic was missing at some time since lanes were last assigned to this consumer.
    topic_was_missing: bool,
}

impl<H: History> Feed<H> {
    /// Joins a group. The first batches report the assigned lanes. `availability` is that of Kafka; its outage is also
    /// reported when this call fails.
    pub async fn open(
        settings: &Settings,
        group: &str,
        history: H,
        availability: Availability,
    ) -> Result<Self, TopicError> {
        let partitions = topic::partitions(settings, &availability).await?;
        if let Some(partitions) = partitions {
            topic::check_partitions(settings, partitions, history.heads().await?.len())?;
        }
        let context = GroupCallbacks { availability, changes: Arc::default() };
        let consumer: StreamConsumer<GroupCallbacks> = settings.consumer(group).create_with_context(context)?;
        let consumer = Arc::new(consumer);
        consumer.subscribe(&[&settings.topic])?;
        Ok(Self {
            consumer,
            history,
            settings: settings.clone(),
            lanes: BTreeSet::new(),
            heads: BTreeMap::new(),
            batch: Batch::default(),
            foreign_logged: false,
            topic_was_missing: partitions.is_none(),
        })
    }

    /// Availability of Kafka.
    pub fn availability(&self) -> &Availability {
        &self.consumer.context().availability
    }

    /// Requests the metadata of the topic; an answer ends an outage that no record would end. Returns true if the topic
    /// exists and was missing since lanes were last assigned: librdkafka may never notice a topic that is created while
    /// it joins the group, so a consumer without assigned lanes should then open a new feed.
    pub async fn check_topic(&mut self) -> bool {
        let (consumer, topic) = (self.consumer.clone(), self.settings.topic.clone());
        let answer = blocking(move || {
            let metadata = consumer.fetch_metadata(Some(&topic), METADATA_TIMEOUT)?;
            Ok::<_, KafkaError>(metadata.topics().first().is_some_and(|found| !found.partitions().is_empty()))
        });
        let exists = match answer.await {
            Ok(exists) => {
                self.availability().report_recovery();
                exists
            }
            Err(error) => {
                self.availability().report_outage(&self.availability().cause_of(&error));
                false
            }
        };
        self.topic_was_missing |= !exists;
        exists && self.topic_was_missing
    }

    /// Lanes assigned to this consumer.
    pub fn lanes(&self) -> &BTreeSet<i16> {
        &self.lanes
    }

    /// Receives up to `most` events; fewer, or none, if no more arrive in time. Waits for the first event only.
    /// Cancel-safe.
    pub async fn next(&mut self, most: usize, time_limit: Duration) -> Result<Batch, Fault> {
        let until = Instant::now() + time_limit;
        while self.batch.events.len() < most {
            let consumer = self.consumer.clone();
            // Waits for the first record only; further records of the same fetch are buffered already.
            let received = match self.batch.events.is_empty() {
                true => timeout_at(until, consumer.recv()).await.ok(),
                false => consumer.recv().now_or_never(),
            };
            self.apply_assignment_changes();
            match received {
                Some(Ok(record)) => self.add_record(&record),
                Some(Err(error)) => {
                    let availability = &consumer.context().availability;
                    availability.report_outage(&availability.cause_of(&error));
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

    /// Commits the offsets of all events returned so far, as a hint for the next consumer of these lanes.
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

    /// Applies the changes of the assignment that the group has made meanwhile.
    fn apply_assignment_changes(&mut self) {
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
                }
            }
        }
    }

    fn add_record(&mut self, record: &BorrowedMessage<'_>) {
        // A lock per batch is enough.
        if self.batch.events.is_empty() {
            self.consumer.context().availability.report_recovery();
        }
        match decode(record) {
            // A buffered record of a lane that was revoked meanwhile.
            Ok(event) if !self.lanes.contains(&event.lane) => {}
            Ok(event) => self.batch.events.push(event),
            Err(foreign) => self.skip_foreign(&foreign),
        }
    }

    /// Drops events beyond the end of the log, as no relay can have sent them. Reads the heads of the log only if an
    /// event is beyond the known ones.
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
            self.skip_foreign(&Foreign::BeyondLog { lane, position, head });
        }
        Ok(())
    }

    /// Counts a foreign record, and logs the first one.
    fn skip_foreign(&mut self, foreign: &Foreign) {
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

/// A change of the lanes that the group assigns to this consumer.
#[derive(Debug)]
enum Change {
    Assigned(Vec<i16>),
    Revoked(Vec<i16>),
}

/// Callbacks of the consumer. librdkafka delivers changes of the assignment only while records are requested.
struct GroupCallbacks {
    availability: Availability,
    changes: Arc<Mutex<Vec<Change>>>,
}

impl GroupCallbacks {
    fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for GroupCallbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.availability.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.availability.error(error, reason);
    }
}

impl ConsumerContext for GroupCallbacks {
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
