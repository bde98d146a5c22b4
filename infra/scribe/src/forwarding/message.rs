//! Messages between processes: forwarded commands and their answers, as JSON.

use commands::kernel::{AnyCommand, Commands, Misuse, NotNow, Rejected, StateRegistry};
use commands::scribe::{Accepted, Answer, ChangedStream, Envelope, Settled, WrappedDataKey};
use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Path of the forwarding endpoint.
pub(super) const PATH: &str = "/peers/commands";
/// Header with the signature of the request body.
pub(super) const SIGNATURE_HEADER: &str = "x-cartulary-seal";

/// Body of a request: the commands of one submission, for the owner of their lane.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForwardedCommands {
    pub(super) tenant: TenantId,
    pub(super) from_engine: bool,
    pub(super) commands: Vec<ForwardedCommand>,
}

/// An [`Envelope`] as text. Personal fields are sealed already.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForwardedCommand {
    id: CommandId,
    name: String,
    body: String,
    fingerprint: String,
    principal: Principal,
    actor: Actor,
    correlation: Option<Uuid>,
    causation: Option<Uuid>,
    deadline: Option<Timestamp>,
    person_keys: Vec<(Uuid, Vec<u8>)>,
}

impl ForwardedCommand {
    pub(super) fn from_envelope(envelope: &Envelope) -> Result<Self, serde_json::Error> {
        let key = |key: &WrappedDataKey| (key.person, key.wrapped.clone());
        Ok(Self {
            id: envelope.id,
            name: envelope.command.name().into_owned(),
            body: envelope.command.to_json()?,
            fingerprint: envelope.fingerprint.clone().into(),
            principal: envelope.principal,
            actor: envelope.actor.clone(),
            correlation: envelope.correlation,
            causation: envelope.causation,
            deadline: envelope.deadline,
            person_keys: envelope.person_keys.iter().map(key).collect(),
        })
    }

    /// Parses the command. Its id is not new, because the request may arrive twice.
    pub(super) fn into_envelope(self, tenant: TenantId, catalogue: &Commands) -> Result<Envelope, Misuse> {
        let unknown = || Misuse::new("UNKNOWN_COMMAND", "", format!("this process has no command {}", self.name));
        let command: Box<dyn AnyCommand> = catalogue.get(&self.name).ok_or_else(unknown)?.parse(&self.body)?;
        let key = |(person, wrapped)| WrappedDataKey { tenant, person, wrapped };
        Ok(Envelope {
            id: self.id,
            command,
            fingerprint: self.fingerprint.into(),
            principal: self.principal,
            actor: self.actor,
            correlation: self.correlation,
            causation: self.causation,
            deadline: self.deadline,
            id_is_new: false,
            person_keys: self.person_keys.into_iter().map(key).collect(),
        })
    }
}

/// An [`Answer`] as JSON.
#[derive(Serialize, Deserialize)]
pub(super) enum ForwardedAnswer {
    Accepted { accepted: ForwardedReceipt, replayed: bool },
    Rejected { rejected: Box<Rejected>, tenant_position: i64, epoch: i64, recorded_at: Timestamp, replayed: bool },
    NotNow(NotNow),
    Misuse(Misuse),
    Fault(String),
}

#[derive(Serialize, Deserialize)]
pub(super) struct ForwardedReceipt {
    tenant_position: i64,
    epoch: i64,
    recorded_at: Timestamp,
    changed: Vec<(String, Uuid, i64)>,
}

impl From<Answer> for ForwardedAnswer {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Settled { settled: Settled::Accepted(accepted), replayed } => {
                let Accepted { tenant_position, epoch, recorded_at, changed } = accepted;
                let change =
                    |changed: ChangedStream| (changed.stream_type.to_owned(), changed.stream, changed.sequence);
                let changed = changed.into_iter().map(change).collect();
                Self::Accepted { accepted: ForwardedReceipt { tenant_position, epoch, recorded_at, changed }, replayed }
            }
            Answer::Settled {
                settled: Settled::Rejected { rejected, tenant_position, epoch, recorded_at },
                replayed,
            } => Self::Rejected { rejected, tenant_position, epoch, recorded_at, replayed },
            Answer::NotNow(reason) => Self::NotNow(reason),
            Answer::Misuse(misuse) => Self::Misuse(misuse),
            Answer::Fault(reason) => Self::Fault(reason),
        }
    }
}

impl ForwardedAnswer {
    pub(super) fn into_answer(self, registry: &StateRegistry) -> Answer {
        match self {
            Self::Accepted { accepted, replayed } => {
                let ForwardedReceipt { tenant_position, epoch, recorded_at, changed } = accepted;
                // A stream type that this process does not have is left out: no client of this version can query it.
                let change = |(stream_type, stream, sequence): (String, Uuid, i64)| {
                    Some(ChangedStream { stream_type: registry.stream_type(&stream_type)?, stream, sequence })
                };
                let changed = changed.into_iter().filter_map(change).collect();
                let accepted = Accepted { tenant_position, epoch, recorded_at, changed };
                Answer::Settled { settled: Settled::Accepted(accepted), replayed }
            }
            Self::Rejected { rejected, tenant_position, epoch, recorded_at, replayed } => {
                let settled = Settled::Rejected { rejected, tenant_position, epoch, recorded_at };
                Answer::Settled { settled, replayed }
            }
            Self::NotNow(reason) => Answer::NotNow(reason),
            Self::Misuse(misuse) => Answer::Misuse(misuse),
            Self::Fault(reason) => Answer::Fault(reason),
        }
    }
}
