//! Kafka as a feed for workers: one consumer group, batches in order within each lane.

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

use crate::outage::{Outage, words};
use crate::record::{Foreign, decode};
use crate::settings::Settings;
use crate::topic::{self, TopicError, blocking};

/// How long a seek may take.
const SEEK: Duration = Duration::from_secs(2);
/// How long Kafka may take to say that it is back.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

/// What came in one go.
#[derive(Debug, Default)]
pub struct Batch {
    /// In order within each lane. Positions may repeat and may be missing: the checkpoint of whoever takes them
    /// decides.
    pub events: Vec<RawEvent>,
    /// Lanes that are ours from now on. Read the checkpoints of these again before taking the events: somebody else
    /// has moved them.
    pub assigned: Vec<i16>,
    /// Lanes that are somebody else's from now on. `events` holds none of theirs.
    pub revoked: Vec<i16>,
    /// Records that no relay wrote; they are counted and said, and nothing else.
    pub foreign: usize,
}

/// A worker's place in a consumer group.
///
/// Kafka's offsets are only a hint where to begin: what was taken stands in the worker's own checkpoint, which is
/// written together with what was made of the events. So a worker
/// 1. asks for the [`next`](Self::next) batch and hands it to its projector, which skips what it has taken before;
/// 2. reads the log where the projector finds a hole, up to the end of the log;
/// 3. [`commit`](Self::commit)s, and begins again.
///
/// A worker that hears nothing should look at the log once in a while: the last event of a lane may be one that Kafka
/// does not hold.
pub struct Feed<H> {
    consumer: Arc<StreamConsumer<Group>>,
    history: H,
    settings: Settings,
    lanes: BTreeSet<i16>,
    /// How far each lane of the log reaches, as far as is known.
    heads: BTreeMap<i16, i64>,
    /// Offset and position of the last record of each lane.
    seen: BTreeMap<i16, (i64, i64)>,
    /// What is being collected; kept where a call is cancelled or fails.
    batch: Batch,
    said_foreign: bool,
    /// Nobody saw the topic at some time since lanes were dealt out to us last.
    unseen: bool,
}

impl<H: History> Feed<H> {
    /// Joins a group. The lanes come with the batches. Whether Kafka can be used is told to `outage`, which outlives
    /// what fails here.
    pub async fn open(settings: &Settings, group: &str, history: H, outage: Outage) -> Result<Self, TopicError> {
        let partitions = topic::partitions(settings, &outage).await?;
        if let Some(partitions) = partitions {
            topic::check(settings, partitions)?;
        }
        let context = Group { outage, changes: Arc::default() };
        let consumer: StreamConsumer<Group> = settings.consumer(group).create_with_context(context)?;
        let consumer = Arc::new(consumer);
        consumer.subscribe(&[&settings.topic])?;
        let (heads, seen) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self {
            consumer,
            history,
            settings: settings.clone(),
            lanes: BTreeSet::new(),
            heads,
            seen,
            batch: Batch::default(),
            said_foreign: false,
            unseen: partitions.is_none(),
        })
    }

    /// Tells whether Kafka answers.
    pub fn outage(&self) -> &Outage {
        &self.consumer.context().outage
    }

    /// Finds out whether Kafka, once away, answers again; without records that come, nothing else would tell. Says whether
    /// the topic was made under way: librdkafka may never notice one that is made just while it joins, and whoever is
    /// dealt out no lanes of it should open a feed anew.
    pub async fn look(&mut self) -> bool {
        let (consumer, topic) = (self.consumer.clone(), self.settings.topic.clone());
        let asked = blocking(move || {
            let metadata = consumer.fetch_metadata(Some(&topic), ANSWERS_WITHIN)?;
            Ok::<_, KafkaError>(metadata.topics().first().is_some_and(|found| !found.partitions().is_empty()))
        });
        let there = match asked.await {
            Ok(there) => {
                self.outage().back();
                there
            }
            Err(error) => {
                self.outage().away(&self.outage().why(&error));
                false
            }
        };
        self.unseen |= !there;
        there && self.unseen
    }

    /// The lanes that are ours.
    pub fn lanes(&self) -> &BTreeSet<i16> {
        &self.lanes
    }

    /// The next events, at most so many; fewer or none where no more come within the time. May be cancelled.
    pub async fn next(&mut self, most: usize, within: Duration) -> Result<Batch, Fault> {
        let until = Instant::now() + within;
        while self.batch.events.len() < most {
            let consumer = self.consumer.clone();
            // Waits for the first record alone: what has come with it is there already.
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
            // Foreign records and errors may come without end.
            if Instant::now() > until {
                break;
            }
        }
        self.leave_the_future().await?;
        Ok(std::mem::take(&mut self.batch))
    }

    /// Goes on after a position, or as near before it as can be told; the beginning where nothing is known of the
    /// lane. Records repeat where it lands too early, and holes are seen where it lands too late.
    pub async fn seek(&self, lane: i16, after: i64) -> Result<(), KafkaError> {
        let near = self.seen.get(&lane).map(|(offset, position)| offset - (position - after));
        let offset = near.filter(|offset| *offset >= 0).map_or(Offset::Beginning, |offset| Offset::Offset(offset + 1));
        let (consumer, topic) = (self.consumer.clone(), self.settings.topic.clone());
        blocking(move || consumer.seek(&topic, i32::from(lane), offset, SEEK)).await
    }

    /// Leaves a hint for whoever has these lanes next: everything that was handed out is taken.
    pub fn commit(&self) {
        match self.consumer.commit_consumer_state(CommitMode::Async) {
            // Nothing new to say.
            Ok(()) | Err(KafkaError::ConsumerCommit(rdkafka::types::RDKafkaErrorCode::NoOffset)) => {}
            Err(error) => tracing::debug!(error = words(&error), "offsets are not committed"),
        }
    }

    /// Leaves the group, so that others have the lanes at once. Without it they wait for six seconds.
    pub async fn close(self) {
        let consumer = self.consumer;
        tokio::task::spawn_blocking(move || drop(consumer)).await.ok();
    }

    fn take_changes(&mut self) {
        let batch = &mut self.batch;
        for change in self.consumer.context().take_changes() {
            match change {
                Change::Assigned(lanes) => {
                    self.unseen &= lanes.is_empty();
                    self.lanes.extend(&lanes);
                    batch.assigned.extend(lanes);
                }
                Change::Revoked(lanes) => {
                    batch.events.retain(|event| !lanes.contains(&event.lane));
                    batch.assigned.retain(|lane| !lanes.contains(lane));
                    self.lanes.retain(|lane| !lanes.contains(lane));
                    self.seen.retain(|lane, _| !lanes.contains(lane));
                    batch.revoked.extend(lanes);
                }
            }
        }
    }

    fn take(&mut self, record: &BorrowedMessage<'_>) {
        // Whatever else came with it was there as well.
        if self.batch.events.is_empty() {
            self.consumer.context().outage.back();
        }
        match decode(record) {
            // A record that was already on its way when its lane was revoked.
            Ok(event) if !self.lanes.contains(&event.lane) => {}
            Ok(event) => {
                self.seen.insert(event.lane, (record.offset(), event.position));
                self.batch.events.push(event);
            }
            Err(foreign) => self.count(&foreign),
        }
    }

    /// Leaves out what the log does not have. The log is asked only about what it was not known to have.
    async fn leave_the_future(&mut self) -> Result<(), Fault> {
        let beyond = |heads: &BTreeMap<i16, i64>, event: &RawEvent| {
            heads.get(&event.lane).is_none_or(|head| event.position > *head)
        };
        if self.batch.events.iter().any(|event| beyond(&self.heads, event)) {
            let heads = self.history.heads().await?;
            self.heads = heads.into_iter().map(|head| (head.lane, head.position)).collect();
        }
        let events = std::mem::take(&mut self.batch.events);
        let (future, kept): (Vec<_>, _) = events.into_iter().partition(|event| beyond(&self.heads, event));
        self.batch.events = kept;
        for RawEvent { lane, position, .. } in future {
            let head = self.heads.get(&lane).copied().unwrap_or(0);
            self.count(&Foreign::FromTheFuture { lane, position, head });
        }
        Ok(())
    }

    fn count(&mut self, foreign: &Foreign) {
        self.batch.foreign += 1;
        metrics::counter!("cartulary_foreign_records_total", "why" => foreign.word()).increment(1);
        if !std::mem::replace(&mut self.said_foreign, true) {
            tracing::warn!(
                topic = self.settings.topic,
                %foreign,
                "the topic holds a record that no relay wrote; it is left out, and so will be others, silently: see \
                 cartulary_foreign_records_total"
            );
        }
    }
}

/// What the group has decided.
#[derive(Debug)]
enum Change {
    Assigned(Vec<i16>),
    Revoked(Vec<i16>),
}

/// Hears of the group's decisions while records are asked for, and at no other time.
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
                tracing::warn!(error = words(error), "the group cannot deal out its lanes");
                return;
            }
        };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(error = words(&error), "offsets are not committed");
        }
    }
}
