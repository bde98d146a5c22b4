//! Says once that something is away, and once that it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Whether something answers; shared by everybody who would notice.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    what: &'static str,
    away: Arc<AtomicBool>,
}

impl Outage {
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, away: Arc::default() }
    }

    pub(crate) fn away(&self, reason: &str) {
        metrics::counter!("cartulary_fan_out_errors_total", "of" => self.what).increment(1);
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(reason, "{} does not answer; waiting for it, nothing is lost", self.what);
        }
    }

    pub(crate) fn back(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!("{} answers again", self.what);
        }
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
