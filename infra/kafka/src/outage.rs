//! Availability of a server: logged once when it is lost and once when it is back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::connection_error;

/// Availability of one server, shared by the tasks that use it and those that report it.
#[derive(Clone, Debug)]
pub struct Outage {
    what: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Reason for the outage; `None` while the server is available.
    reason: Option<String>,
    /// Last connection error. It is more precise than the timeouts of calls that it causes.
    connection_error: Option<String>,
}

impl Outage {
    pub fn of(what: &'static str) -> Self {
        Self { what, state: Arc::default() }
    }

    /// Records a failure. Logged at the start of an outage only.
    pub fn away(&self, reason: &str) {
        metrics::counter!("cartulary_fan_out_errors_total", "of" => self.what).increment(1);
        if self.state().reason.replace(reason.to_owned()).is_none() {
            tracing::warn!(reason, "{} is unavailable; waiting for it, nothing is lost", self.what);
        }
    }

    /// Records a success, which ends an outage.
    pub fn back(&self) {
        if std::mem::take(&mut *self.state()).reason.is_some() {
            tracing::info!("{} can be used again", self.what);
        }
    }

    /// Name of the server.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Reason for the outage; `None` while the server is available.
    pub fn reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    /// Cause of a failed call: the connection error behind it where one is known, otherwise the text of the call's
    /// error.
    pub(crate) fn why(&self, error: &KafkaError) -> String {
        use RDKafkaErrorCode::{
            AllBrokersDown, Authentication, BrokerTransportFailure, OperationTimedOut, Resolve, SSL,
        };
        let unanswered = matches!(
            error.rdkafka_error_code(),
            Some(AllBrokersDown | Authentication | BrokerTransportFailure | OperationTimedOut | Resolve | SSL)
        );
        let connection_error = self.state().connection_error.clone().filter(|_| unanswered);
        connection_error.unwrap_or_else(|| text(error))
    }

    /// A call succeeded, so earlier connection errors no longer apply.
    pub(crate) fn answered(&self) {
        self.state().connection_error = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// librdkafka reports every broken connection; these go to the log at debug level.
impl ClientContext for Outage {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        // The facility of failed connections. librdkafka does not report all of them through `error`.
        if facility == "FAIL" {
            self.state().connection_error = Some(connection_error::explain(message));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let connection_error = self.state().connection_error.clone();
                self.away(connection_error.as_deref().unwrap_or(reason));
            }
            _ => tracing::debug!(%error, reason, "librdkafka"),
        }
    }
}

impl ConsumerContext for Outage {}

/// librdkafka's description of an error, without the wrapping of the Rust crate.
pub(crate) fn text(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
