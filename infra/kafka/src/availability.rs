//! Availability of a server: logged once when it is lost and once when it can be used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::connection_error;

/// Availability of one server. Clones share it: those of the tasks that use the server, and those of the health report.
#[derive(Clone, Debug)]
pub struct Availability {
    server: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Reason for the outage; `None` while the server is available.
    reason: Option<String>,
    /// Last error of a connection. It is more precise than the timeouts of the calls that fail because of it.
    connection_error: Option<String>,
}

impl Availability {
    pub fn new(server: &'static str) -> Self {
        Self { server, state: Arc::default() }
    }

    /// Records a failed call, which begins an outage unless there is one. Only its beginning is logged.
    pub fn report_outage(&self, reason: &str) {
        metrics::counter!("cartulary_fan_out_errors_total", "of" => self.server).increment(1);
        if self.state().reason.replace(reason.to_owned()).is_none() {
            tracing::warn!(reason, "{} is unavailable; waiting for it, nothing is lost", self.server);
        }
    }

    /// Records a successful call, which ends an outage.
    pub fn report_recovery(&self) {
        if std::mem::take(&mut *self.state()).reason.is_some() {
            tracing::info!("{} can be used again", self.server);
        }
    }

    /// Name of the server.
    pub fn server(&self) -> &'static str {
        self.server
    }

    /// Reason for the outage; `None` while the server is available.
    pub fn outage_reason(&self) -> Option<String> {
        self.state().reason.clone()
    }

    /// Cause of a failed call: the last connection error if the call failed for want of a connection, otherwise the
    /// text of its own error.
    pub(crate) fn cause_of(&self, error: &KafkaError) -> String {
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

    /// Forgets the last connection error, because a call has succeeded since.
    pub(crate) fn clear_connection_error(&self) {
        self.state().connection_error = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Callbacks of librdkafka, which reports every broken connection: only the loss of all brokers is an outage.
impl ClientContext for Availability {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
        // Failed connections. librdkafka does not report all of them through `error`.
        if facility == "FAIL" {
            self.state().connection_error = Some(connection_error::explain(message));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                let connection_error = self.state().connection_error.clone();
                self.report_outage(connection_error.as_deref().unwrap_or(reason));
            }
            _ => tracing::debug!(%error, reason, "librdkafka"),
        }
    }
}

impl ConsumerContext for Availability {}

/// librdkafka's description of an error, without the wrapping of the Rust crate.
pub(crate) fn text(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}
