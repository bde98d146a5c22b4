//! The answer to a command, as callers see it.

use commands::kernel::Rejected;
use commands::scribe::{Accepted, Answer, Settled};
use domain::shared::{CommandId, Timestamp};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::error::{Problem, retry_code};
use crate::port::{Backend, Freshness};

/// Durable answer to a command: accepted or rejected, with a receipt.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandAnswer {
    pub outcome: Outcome,
    pub command_id: CommandId,
    pub receipt: Receipt,
    /// Present exactly with the outcome `rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
}

/// Decision about a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Accepted,
    Rejected,
}

/// Proof that a command was decided.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The tenant's position after the command.
    pub tenant_position: i64,
    /// Freshness token, opaque to clients: a query with it as `minPosition` sees this command's effects.
    pub token: String,
    pub recorded_at: Timestamp,
    /// True if the command was decided earlier and this is the stored answer.
    pub replayed: bool,
    /// Changed streams; empty if there was nothing to change, or if the command was rejected.
    pub changed: Vec<ChangedStream>,
}

/// A changed stream; `version` is the sequence of its last event.
#[derive(Clone, Debug, Serialize)]
pub struct ChangedStream {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: Uuid,
    pub version: i64,
}

/// Reason for a rejection by the domain.
#[derive(Clone, Debug, Serialize)]
pub struct Rejection {
    pub code: String,
    pub message: String,
    pub details: serde_json::Value,
    #[serde(serialize_with = "retry")]
    pub retry: domain::kernel::Retry,
}

fn retry<S: Serializer>(retry: &domain::kernel::Retry, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(retry_code(*retry))
}

impl CommandAnswer {
    /// Converts an answer of the scribe: a durable answer, or a problem if nothing was decided.
    pub fn from_answer(backend: &dyn Backend, command_id: CommandId, answer: Answer) -> Result<Self, Problem> {
        match answer {
            Answer::Settled { settled, replayed } => Ok(Self::from_settled(command_id, settled, replayed)),
            Answer::NotNow(not_now) => Err(not_now.into()),
            Answer::Misuse(misuse) => Err(misuse.into()),
            Answer::Fault(inside) => Err(Problem::fault(backend.new_id(), &inside)),
        }
    }

    /// Converts a durable answer of the scribe; `replayed` if it was stored earlier.
    pub fn from_settled(command_id: CommandId, settled: Settled, replayed: bool) -> Self {
        let (position, epoch, recorded_at, changed, rejection) = match settled {
            Settled::Accepted(Accepted { tenant_position, epoch, recorded_at, changed }) => {
                (tenant_position, epoch, recorded_at, changed, None)
            }
            Settled::Rejected { rejected, tenant_position, epoch, recorded_at } => {
                let Rejected { code, message, details, retry } = *rejected;
                let rejection = Rejection { code, message, details, retry };
                (tenant_position, epoch, recorded_at, Default::default(), Some(rejection))
            }
        };
        let changed = changed.into_iter().map(|changed| ChangedStream {
            kind: changed.stream_type,
            id: changed.stream,
            version: changed.sequence,
        });
        let token = Freshness { tenant_position: position, epoch }.to_token();
        let receipt = Receipt { tenant_position: position, token, recorded_at, replayed, changed: changed.collect() };
        let outcome = if rejection.is_some() { Outcome::Rejected } else { Outcome::Accepted };
        Self { outcome, command_id, receipt, rejection }
    }
}
