//! Says once that something cannot be used, and once that it can again.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Whether something can be used; shared by everybody who would notice or wants to know.
#[derive(Clone, Debug)]
pub struct Outage {
    what: &'static str,
    reason: Arc<Mutex<Option<String>>>,
}

impl Outage {
    pub fn of(what: &'static str) -> Self {
        Self { what, reason: Arc::default() }
    }

    /// It cannot be used. Said in the log the first time.
    pub fn away(&self, reason: &str) {
        metrics::counter!("cartulary_fan_out_errors_total", "of" => self.what).increment(1);
        if self.put(Some(reason.to_owned())).is_none() {
            tracing::warn!(reason, "{} cannot be used now; waiting for it, nothing is lost", self.what);
        }
    }

    /// It can be used.
    pub fn back(&self) {
        if self.put(None).is_some() {
            tracing::info!("{} can be used again", self.what);
        }
    }

    /// What this is about.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Why it cannot be used; nothing while it can.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, reason: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.reason.lock().unwrap_or_else(PoisonError::into_inner), reason)
    }
}

/// librdkafka speaks of every connection that breaks; that is for whoever looks closely.
impl ClientContext for Outage {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.away(reason),
            _ => tracing::debug!(%error, reason, "librdkafka"),
        }
    }
}

impl ConsumerContext for Outage {}

/// The words of librdkafka for what a call met, without its Rust wrapping.
pub(crate) fn words(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
