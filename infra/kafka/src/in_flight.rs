//! Acknowledgement of batches: counts the delivery reports of the records of each batch in flight.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use crate::availability::Availability;
use crate::error::{LaneError, too_large};
use crate::record::decode;

pub(crate) type Producer = ThreadedProducer<DeliveryReports>;

/// Receives the delivery report of each record, on the producer's own thread.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryReports(pub(crate) Availability);

/// One batch of one lane that was sent and is not yet acknowledged in full.
pub(crate) struct InFlight {
    /// Number of records without a delivery report, plus one until all records are handed to the producer.
    open: AtomicUsize,
    done: Notify,
    state: Mutex<State>,
}

struct State {
    /// Lowest offset that the next record of the partition can get.
    end: i64,
    error: Option<LaneError>,
}

impl InFlight {
    /// A batch whose first record gets the offset `end` or a later one.
    pub(crate) fn after(end: i64) -> Arc<Self> {
        let state = Mutex::new(State { end, error: None });
        Arc::new(Self { open: AtomicUsize::new(1), done: Notify::new(), state })
    }

    /// Counts a record that is handed to the producer.
    pub(crate) fn add_record(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a record, or the handing over of the batch, as finished. The last one wakes [`Self::acknowledged`].
    pub(crate) fn finish_one(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_one();
        }
    }

    /// Waits for all delivery reports, when all records are handed over. Returns the next offset of the partition.
    pub(crate) async fn acknowledged(&self) -> Result<i64, LaneError> {
        self.finish_one();
        self.done.notified().await;
        let mut state = self.state();
        state.error.take().map_or(Ok(state.end), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record_written(&mut self, offset: i64) {
        // Kafka reports no offset for a record that it already has.
        if offset < 0 {
            return;
        }
        // A partition never gives an offset twice.
        if offset < self.end {
            self.error = Some(LaneError::PartitionRecreated);
        }
        self.end = offset + 1;
    }
}

impl ProducerContext for DeliveryReports {
    type DeliveryOpaque = Arc<InFlight>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<InFlight>) {
        match result {
            Ok(record) => batch.state().record_written(record.offset()),
            Err((error, record)) if too_large(error) => {
                let position = decode(record).map_or(0, |event| event.position);
                report_left_out(record.partition(), position, record.payload_len());
            }
            // The first error is the cause of the later ones.
            Err((error, _)) => _ = batch.state().error.get_or_insert(LaneError::Kafka(error.clone())),
        }
        batch.finish_one();
    }
}

impl ClientContext for DeliveryReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

/// Reports an event that is too large for a record, the only kind of event that is left out. Consumers detect the gap
/// and read the event from the log; stopping the lane instead would withhold all later events.
pub(crate) fn report_left_out(lane: i32, position: i64, bytes: usize) {
    metrics::counter!("cartulary_relay_left_out_total").increment(1);
    tracing::error!(
        lane,
        position,
        bytes,
        "an event is too large for Kafka and is left out; consumers read it from the log"
    );
}
