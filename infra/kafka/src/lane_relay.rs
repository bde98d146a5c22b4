//! Relaying of one lane: reads a batch from the log, sends it, waits until Kafka has acknowledged it, and continues.
//! The next batch is read while one is being sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use domain::kernel::{Published, publish_stored};
use futures::future::join;
use projections::ports::{Checkpoint, History, RawEvent};
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::BATCH_EVENTS_MOST;
use crate::availability::Availability;
use crate::error::{LaneError, too_large};
use crate::in_flight::{InFlight, Producer, report_left_out};
use crate::record::headers_of_version;
use crate::resume::{head, last_common_checkpoint, read_partition_end};
use crate::settings::Settings;
use crate::topic::{self, blocking};

/// Pause before a record is offered again to a full producer queue.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// Last position of each lane of the log.
pub(crate) type Heads = Arc<[Checkpoint]>;

/// Reason for which the relaying of a lane starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// This relay has acquired the lease on the lane.
    LeaseAcquired,
    AfterError,
    /// The partition was recreated and no longer holds all earlier records, so relaying starts at the first event of
    /// the lane.
    FromFirstEvent,
}

/// Task that relays one lane.
pub(crate) struct LaneRelay<H> {
    pub(crate) lane: i16,
    /// Number of lanes of the log, and of partitions of a topic.
    pub(crate) lane_count: usize,
    pub(crate) settings: Settings,
    pub(crate) history: Arc<H>,
    pub(crate) producer: Producer,
    /// Availability of Kafka.
    pub(crate) kafka: Availability,
    /// Heads of the log, published after each poll.
    pub(crate) heads: watch::Receiver<Heads>,
    /// Last position that Kafka has acknowledged, read by the lag metric.
    pub(crate) progress: Arc<AtomicI64>,
    pub(crate) stop: CancellationToken,
}

impl<H: History> LaneRelay<H> {
    /// Relays events until `stop`, which is checked between two batches.
    pub(crate) async fn run(mut self, start: Start) -> Result<(), LaneError> {
        if start != Start::LeaseAcquired {
            // The topic may have been deleted.
            topic::ensure_both(&self.settings, self.lane_count, &self.kafka).await?;
        }
        let from_first_event = start == Start::FromFirstEvent;
        let mut stored = self.resume(&self.settings, from_first_event).await?;
        let mut published = self.resume(&self.settings.of_published(), from_first_event).await?;
        let mut at = if published.at.position < stored.at.position { published.at } else { stored.at };
        tracing::debug!(lane = self.lane, position = at.position, "relaying");
        let mut batch = Vec::new();
        while !self.stop.is_cancelled() {
            self.progress.store(at.position, Ordering::Relaxed);
            if batch.is_empty() {
                let Some(head) = self.next_head(at).await else { break };
                if head.position < at.position || head.epoch != at.epoch {
                    at = last_common_checkpoint(self.history.as_ref(), at).await?;
                    [&mut stored, &mut published].into_iter().for_each(|topic| topic.rewind(at));
                }
                batch = self.history.events(self.lane, at.position, BATCH_EVENTS_MOST).await?;
            }
            if epoch_changes(at, &batch) {
                let agreed = last_common_checkpoint(self.history.as_ref(), at).await?;
                if agreed.position < at.position {
                    (at, batch) = (agreed, Vec::new());
                    [&mut stored, &mut published].into_iter().for_each(|topic| topic.rewind(at));
                    continue;
                }
            }
            let Some(last) = batch.last() else { continue };
            let sent = Checkpoint { lane: self.lane, position: last.position, epoch: last.epoch };
            let next = self.history.events(self.lane, last.position, BATCH_EVENTS_MOST);
            let (acknowledged, next) = join(self.send(&batch, stored, published), next).await;
            (stored, published) = acknowledged?;
            self.kafka.report_recovery();
            metrics::counter!("cartulary_relayed_events_total").increment(batch.len() as u64);
            (at, batch) = (sent, next?);
        }
        Ok(())
    }

    /// State of this lane's partition of a topic, according to its last record.
    async fn resume(&self, settings: &Settings, from_first_event: bool) -> Result<TopicState, LaneError> {
        let (settings, kafka, lane) = (settings.clone(), self.kafka.clone(), self.lane);
        let head = head(self.history.as_ref(), lane).await?;
        let partition = blocking(move || read_partition_end(&settings, &kafka, lane, head)).await?;
        self.kafka.report_recovery();
        let at = match partition.last.filter(|_| !from_first_event) {
            Some(last) => last_common_checkpoint(self.history.as_ref(), last).await?,
            None => Checkpoint::start(lane),
        };
        Ok(TopicState { at, end: partition.end })
    }

    /// Waits until the head of the lane differs from the last event sent. `None` when stopped.
    async fn next_head(&mut self, at: Checkpoint) -> Option<Checkpoint> {
        loop {
            // A head published before the last read of the log may be older than that read, so only a new one counts.
            tokio::select! {
                () = self.stop.cancelled() => return None,
                changed = self.heads.changed() => changed.ok()?,
            }
            let head = self.heads.borrow_and_update().iter().find(|head| head.lane == at.lane).copied();
            match head {
                Some(head) if (head.position, head.epoch) != (at.position, at.epoch) => return Some(head),
                _ => {}
            }
        }
    }

    /// Sends to each topic the events of a batch that it lacks, and waits until they are acknowledged. Returns the states
    /// of both topics after the batch.
    async fn send(
        &self,
        batch: &[RawEvent],
        stored: TopicState,
        published: TopicState,
    ) -> Result<(TopicState, TopicState), LaneError> {
        let (to_stored, to_published) = (InFlight::after(stored.end), InFlight::after(published.end));
        let public_topic = self.settings.of_published().topic;
        for event in batch {
            if event.position > stored.at.position {
                let record = Record { topic: &self.settings.topic, version: event.version, payload: &event.payload };
                self.send_one(event, &record, &to_stored).await?;
            }
            if event.position > published.at.position
                && let Some(public) = public_form(event)
            {
                let record = Record { topic: &public_topic, version: public.version, payload: &public.body };
                self.send_one(event, &record, &to_published).await?;
            }
            // Without yielding, sixteen lanes would prevent the relay from renewing its leases.
            consume_budget().await;
        }
        let (stored_end, published_end) = (to_stored.acknowledged().await?, to_published.acknowledged().await?);
        let after = |before: TopicState, end| {
            let last = batch.last().filter(|last| last.position > before.at.position);
            let at = last.map_or(before.at, |last| Checkpoint {
                lane: self.lane,
                position: last.position,
                epoch: last.epoch,
            });
            TopicState { at, end }
        };
        Ok((after(stored, stored_end), after(published, published_end)))
    }

    /// Puts one record into the producer's queue; waits while the queue is full. A record that is too large is left out.
    async fn send_one(&self, event: &RawEvent, what: &Record<'_>, in_flight: &Arc<InFlight>) -> Result<(), LaneError> {
        let mut key = Uuid::encode_buffer();
        let key: &str = event.stream.hyphenated().encode_lower(&mut key);
        let mut record = BaseRecord::with_opaque_to(what.topic, Arc::clone(in_flight))
            .partition(i32::from(self.lane))
            .key(key)
            .payload(what.payload)
            .headers(headers_of_version(event, what.version));
        in_flight.add_record();
        while let Err((error, back)) = self.producer.send(record) {
            if too_large(&error) {
                report_left_out(back.partition.unwrap_or_default(), event.position, what.payload.len());
                in_flight.finish_one();
                return Ok(());
            }
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            tokio::time::sleep(QUEUE_FULL_PAUSE).await;
        }
        Ok(())
    }
}

/// State of one lane's partition of a topic.
#[derive(Clone, Copy, Debug)]
struct TopicState {
    /// Last event that the partition and the log have in common; private events have no record and count as present.
    at: Checkpoint,
    /// Offset of the next record.
    end: i64,
}

impl TopicState {
    /// Goes back to an earlier event: the log was rewritten after it.
    fn rewind(&mut self, at: Checkpoint) {
        if at.position <= self.at.position {
            self.at = at;
        }
    }
}

/// Topic, version and payload of a record of an event.
struct Record<'a> {
    topic: &'a str,
    version: i16,
    payload: &'a str,
}

/// The event as it is published; `None` if it is private. An event that this version cannot read has no public form: it is
/// logged, counted and left out, because a stop would withhold all later events from read models and policies.
fn public_form(event: &RawEvent) -> Option<Published<'_>> {
    publish_stored(&event.kind, event.version, &event.payload).unwrap_or_else(|error| {
        metrics::counter!("cartulary_relay_unpublished_total").increment(1);
        tracing::error!(lane = event.lane, position = event.position, %error, "an event cannot be published");
        None
    })
}

/// True if the next event has another epoch than the last one sent: the log may have been rewritten before that one.
fn epoch_changes(at: Checkpoint, next: &[RawEvent]) -> bool {
    next.first().is_some_and(|event| event.epoch != at.epoch) && at.position > 0
}
