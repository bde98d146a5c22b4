//! A batch on its way to Kafka, counted down as its records arrive.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use crate::lane::Trouble;
use crate::outage::Outage;
use crate::record::decode;

pub(crate) type Producer = ThreadedProducer<Arrivals>;

/// Hears of every record that arrives, on the producer's own thread.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals(pub(crate) Outage);

/// One batch of one lane.
pub(crate) struct Flight {
    /// Records under way, and one more for as long as the batch is being sent.
    open: AtomicUsize,
    landed: Notify,
    state: Mutex<State>,
}

struct State {
    /// The offset that the next record gets at the least.
    end: i64,
    trouble: Option<Trouble>,
}

impl Flight {
    pub(crate) fn after(end: i64) -> Arc<Self> {
        let state = Mutex::new(State { end, trouble: None });
        Arc::new(Self { open: AtomicUsize::new(1), landed: Notify::new(), state })
    }

    /// One more record is handed over.
    pub(crate) fn board(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// One record, or the sender, is done.
    pub(crate) fn leave(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.landed.notify_one();
        }
    }

    /// Waits until everything has arrived. Gives the offset behind the last record.
    pub(crate) async fn landed(&self) -> Result<i64, Trouble> {
        self.leave();
        self.landed.notified().await;
        let mut state = self.state();
        state.trouble.take().map_or(Ok(state.end), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn arrived(&mut self, offset: i64) {
        // Kafka does not tell the offset of a record that it already had.
        if offset < 0 {
            return;
        }
        if offset < self.end {
            self.trouble = Some(Trouble::MadeAnew);
        }
        self.end = offset + 1;
    }
}

impl ProducerContext for Arrivals {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Arc<Flight>) {
        match result {
            Ok(record) => flight.state().arrived(record.offset()),
            Err((error, record)) if too_large(error) => {
                let position = decode(record).map_or(0, |event| event.position);
                left_out(record.partition(), position, record.payload_len());
            }
            // The first trouble is the cause of the others.
            Err((error, _)) => _ = flight.state().trouble.get_or_insert(Trouble::Kafka(error.clone())),
        }
        flight.leave();
    }
}

impl ClientContext for Arrivals {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

pub(crate) fn too_large(error: &KafkaError) -> bool {
    matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge))
}

/// The only thing that is ever left out. Readers see the hole and take it from the log; a lane that stopped for it
/// would leave out everything after it as well.
pub(crate) fn left_out(lane: i32, position: i64, bytes: usize) {
    metrics::counter!("cartulary_relay_left_out_total").increment(1);
    tracing::error!(
        lane,
        position,
        bytes,
        "an event is too large for Kafka and is left out; workers read it from the log"
    );
}
