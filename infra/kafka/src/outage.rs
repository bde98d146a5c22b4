//! Says once that something cannot be used, and once that it can again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::refusal;

/// Whether something can be used; shared by everybody who would notice or wants to know.
#[derive(Clone, Debug)]
pub struct Outage {
    what: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Why it cannot be used; nothing while it can.
    reason: Option<String>,
    /// What the last connection met that came to nothing. It tells more than the calls that got no answer for it.
    met: Option<String>,
}

impl Outage {
    pub fn of(what: &'static str) -> Self {
        Self { what, state: Arc::default() }
    }

    /// It cannot be used. Said in the log the first time.
    pub fn away(&self, reason: &str) {
        metrics::counter!("cartulary_fan_out_errors_total", "of" => self.what).increment(1);
        if self.state().reason.replace(reason.to_owned()).is_none() {
            tracing::warn!(reason, "{} cannot be used now; waiting for it, nothing is lost", self.what);
        }
    }

    /// It can be used.
    pub fn back(&self) {
        if std::mem::take(&mut *self.state()).reason.is_some() {
            tracing::info!("{} can be used again", self.what);
        }
    }

    /// What this is about.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Why it cannot be used; nothing while it can.
    pub fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    /// Why a call failed: what its connections met, where that is known and was the cause, else its own words.
    pub(crate) fn why(&self, error: &KafkaError) -> String {
        use RDKafkaErrorCode::{
            AllBrokersDown, Authentication, BrokerTransportFailure, OperationTimedOut, Resolve, SSL,
        };
        let unheard = matches!(
            error.rdkafka_error_code(),
            Some(AllBrokersDown | Authentication | BrokerTransportFailure | OperationTimedOut | Resolve | SSL)
        );
        let met = self.state().met.clone().filter(|_| unheard);
        met.unwrap_or_else(|| words(error))
    }

    /// A call was answered, so what connections met before is over.
    pub(crate) fn answered(&self) {
        self.state().met = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// librdkafka speaks of every connection that breaks; that is for whoever looks closely.
impl ClientContext for Outage {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        // Its word for a connection that came to nothing. Not all of these are told as errors.
        if facility == "FAIL" {
            self.state().met = Some(refusal::told(message));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let met = self.state().met.clone();
                self.away(met.as_deref().unwrap_or(reason));
            }
            _ => tracing::debug!(%error, reason, "librdkafka"),
        }
    }
}

impl ConsumerContext for Outage {}

/// The words of librdkafka for what a call met, without its Rust wrapping.
pub(crate) fn words(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
