//! One lane on its way to Kafka: read, send, wait until it is kept there, go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::future::join;
use projections::ports::{Checkpoint, Fault, History, RawEvent};
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseRecord;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::watch;
use tokio::task::coop::consume_budget;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::flight::{Flight, Producer, left_out, too_large};
use crate::outage::{Outage, words};
use crate::record::headers;
use crate::resume::{common, head, held};
use crate::settings::Settings;
use crate::topic::{self, TopicError, blocking};

/// Events that are on their way at a time. While they are, the next ones are read.
const BATCH: usize = 2_000;
/// How long to wait before a full queue is tried again.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

pub(crate) type Heads = Arc<[Checkpoint]>;

/// Why a lane begins anew.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{}", words(.0))]
    Kafka(#[from] KafkaError),
    #[error("{0}")]
    Log(#[from] Fault),
    #[error("{0}")]
    Topic(#[from] TopicError),
    #[error("the partition was made anew under way; filling it from the log")]
    MadeAnew,
}

/// In which case a lane begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    First,
    AfterTrouble,
    /// After the partition was made anew: what it holds by now is not all that was before.
    FromStart,
}

/// What a lane needs.
pub(crate) struct Lane<H> {
    pub(crate) lane: i16,
    pub(crate) settings: Settings,
    pub(crate) history: Arc<H>,
    pub(crate) producer: Producer,
    pub(crate) outage: Outage,
    /// How far every lane of the log reaches; changes as it grows.
    pub(crate) heads: watch::Receiver<Heads>,
    /// The last position that Kafka has acknowledged, for whoever shows the lag.
    pub(crate) progress: Arc<AtomicI64>,
    pub(crate) stop: CancellationToken,
}

impl<H: History> Lane<H> {
    /// Follows the log until it is told to stop, which it does when nothing is on its way.
    pub(crate) async fn follow(mut self, begin: Begin) -> Result<(), Trouble> {
        if begin != Begin::First {
            // The topic itself may be gone.
            topic::ensure(&self.settings, &self.outage).await?;
        }
        let (mut at, mut end) = self.resume(begin == Begin::FromStart).await?;
        let mut batch = Vec::new();
        while !self.stop.is_cancelled() {
            self.progress.store(at.position, Ordering::Relaxed);
            if batch.is_empty() {
                let Some(head) = self.news(at).await else { break };
                if head.position < at.position || head.epoch != at.epoch {
                    at = common(self.history.as_ref(), at).await?;
                }
                batch = self.history.events(self.lane, at.position, BATCH).await?;
            }
            if other_epoch(at, &batch) {
                let agreed = common(self.history.as_ref(), at).await?;
                if agreed.position < at.position {
                    (at, batch) = (agreed, Vec::new());
                    continue;
                }
            }
            let Some(last) = batch.last() else { continue };
            let sent = Checkpoint { lane: self.lane, position: last.position, epoch: last.epoch };
            let next = self.history.events(self.lane, last.position, BATCH);
            let (kept, next) = join(self.send(&batch, end), next).await;
            end = kept?;
            self.outage.back();
            metrics::counter!("cartulary_relayed_events_total").increment(batch.len() as u64);
            (at, batch) = (sent, next?);
        }
        Ok(())
    }

    /// Where to begin, and the offset that the partition gives next.
    async fn resume(&self, from_start: bool) -> Result<(Checkpoint, i64), Trouble> {
        let (settings, outage, lane) = (self.settings.clone(), self.outage.clone(), self.lane);
        let head = head(self.history.as_ref(), lane).await?;
        let held = blocking(move || held(&settings, &outage, lane, head)).await?;
        self.outage.back();
        let at = match held.last.filter(|_| !from_start) {
            Some(last) => common(self.history.as_ref(), last).await?,
            None => Checkpoint::start(lane),
        };
        tracing::debug!(lane, position = at.position, "relaying");
        Ok((at, held.end))
    }

    /// Waits until the log has something else than what was sent; nothing once it is time to stop.
    async fn news(&mut self, at: Checkpoint) -> Option<Checkpoint> {
        loop {
            // What was known before the last read may lie behind it, so only what comes now counts.
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

    /// Sends a batch and waits until all of it is kept. Gives the offset behind it.
    async fn send(&self, batch: &[RawEvent], end: i64) -> Result<i64, Trouble> {
        let flight = Flight::after(end);
        for event in batch {
            self.send_one(event, &flight).await?;
            // Sixteen lanes that never pause would keep the relay from renewing its leases.
            consume_budget().await;
        }
        flight.landed().await
    }

    /// Puts one event in the queue, and waits where the queue is full.
    async fn send_one(&self, event: &RawEvent, flight: &Arc<Flight>) -> Result<(), Trouble> {
        let mut key = Uuid::encode_buffer();
        let key: &str = event.stream.hyphenated().encode_lower(&mut key);
        let mut record = BaseRecord::with_opaque_to(&self.settings.topic, Arc::clone(flight))
            .partition(i32::from(self.lane))
            .key(key)
            .payload(&*event.payload)
            .headers(headers(event));
        flight.board();
        while let Err((error, back)) = self.producer.send(record) {
            if too_large(&error) {
                left_out(back.partition.unwrap_or_default(), event.position, event.payload.len());
                flight.leave();
                return Ok(());
            }
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = back;
            tokio::time::sleep(QUEUE_PAUSE).await;
        }
        Ok(())
    }
}

/// Whether the log may have been written anew behind what was sent.
fn other_epoch(at: Checkpoint, next: &[RawEvent]) -> bool {
    next.first().is_some_and(|event| event.epoch != at.epoch) && at.position > 0
}
