//! What a command was answered, as callers see it.

use commands::kernel::Rejected;
use commands::scribe::{Accepted, Answer, Settled};
use domain::shared::{CommandId, Timestamp};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::backend::Backend;
use crate::error::{Problem, retry_word};
use crate::freshness::Freshness;

/// A durable answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    pub outcome: Outcome,
    pub command_id: CommandId,
    pub receipt: Receipt,
    /// Only with the outcome `rejected`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
}

/// Which way it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Accepted,
    Rejected,
}

/// The proof that it was decided.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The tenant's position after it.
    pub tenant_position: i64,
    /// Opaque; a query that names it sees this command's effects.
    pub token: String,
    pub recorded_at: Timestamp,
    /// Whether it was decided earlier and this is the stored answer.
    pub replayed: bool,
    /// The streams it changed; empty where all of it held already, or where it was rejected.
    pub changed: Vec<ChangedStream>,
}

/// A stream and the number of its last event.
#[derive(Clone, Debug, Serialize)]
pub struct ChangedStream {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub id: Uuid,
    pub version: i64,
}

/// Why the business said no.
#[derive(Clone, Debug, Serialize)]
pub struct Rejection {
    pub code: String,
    pub message: String,
    pub details: serde_json::Value,
    #[serde(serialize_with = "retry")]
    pub retry: domain::kernel::Retry,
}

fn retry<S: Serializer>(retry: &domain::kernel::Retry, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(retry_word(*retry))
}

impl Answered {
    /// Tells a durable answer from a problem.
    pub fn from_answer(backend: &dyn Backend, command_id: CommandId, answer: Answer) -> Result<Self, Problem> {
        match answer {
            Answer::Settled { settled, replayed } => Ok(Self::from_settled(command_id, settled, replayed)),
            Answer::NotNow(not_now) => Err(not_now.into()),
            Answer::Misuse(misuse) => Err(misuse.into()),
            Answer::Fault(inside) => Err(Problem::fault(backend.new_id(), &inside)),
        }
    }

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
