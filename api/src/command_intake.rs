//! Command intake: parses a command, checks that the caller may send it, seals its personal fields and submits it to
//! the scribe. A command that fails one of these steps is not submitted.

use std::sync::Arc;

use commands::kernel::{CommandDescriptor, Commands, Misuse, NotNow, Subject};
use commands::scribe::{Answer, COMMAND_ID_REUSED, Envelope};
use domain::shared::{CommandId, Seconds, TenantId, Timestamp};
use uuid::Uuid;

use crate::command_answer::CommandAnswer;
use crate::error::Problem;
use crate::json;
use crate::port::{Backend, Caller};

/// Time from the submission of a command to its deadline. A command not decided by then is refused with
/// `DEADLINE_PASSED`. HTTP waits longer for the answer: `http::ANSWERED_WITHIN`.
pub const DECIDED_WITHIN: Seconds = Seconds(10);

/// Maximum length of an idempotency key, in bytes.
const KEY_BYTES_MOST: usize = 255;

/// A command as a caller sent it.
pub struct CommandRequest<'a> {
    pub name: &'a str,
    /// JSON, not parsed yet.
    pub body: &'a [u8],
    /// The caller's own idempotency key; without one, every attempt is a new command.
    pub key: Option<&'a str>,
    /// Id that connects the commands of one business transaction.
    pub correlation: Option<Uuid>,
}

/// Intake of commands for one backend.
pub struct CommandIntake {
    backend: Arc<dyn Backend>,
    commands: Arc<Commands>,
}

impl CommandIntake {
    pub fn new(backend: Arc<dyn Backend>, commands: Arc<Commands>) -> Self {
        Self { backend, commands }
    }

    /// Deadline of a command that is submitted now.
    pub fn deadline(&self) -> Timestamp {
        self.backend.now().after(DECIDED_WITHIN)
    }

    /// Prepares one command, submits it and returns the answer.
    pub async fn execute(&self, caller: &Caller, request: &CommandRequest<'_>) -> Result<CommandAnswer, Problem> {
        let envelope = self.prepare(caller, request).await?;
        let id = envelope.id;
        let answer = self.backend.submit(caller.tenant, vec![envelope]).await.pop();
        let answer = answer.ok_or_else(|| self.unanswered())?;
        CommandAnswer::from_answer(&*self.backend, id, self.recognise_older(caller, id, request, answer).await)
    }

    /// Returns the stored answer if an earlier version of the engine decided the command, otherwise the given one. Those
    /// versions took the fingerprint from the name of the command and the bytes of the body, so only a repeat with equal
    /// bytes is recognised.
    pub async fn recognise_older(
        &self,
        caller: &Caller,
        id: CommandId,
        request: &CommandRequest<'_>,
        answer: Answer,
    ) -> Answer {
        if !matches!(&answer, Answer::Misuse(misuse) if misuse.code == COMMAND_ID_REUSED) {
            return answer;
        }
        match self.backend.receipt(caller.tenant, caller.principal, id).await {
            Ok(Some(receipt)) => {
                let bytes = [request.name.as_bytes(), b"\n", request.body].concat();
                if receipt.fingerprint == self.backend.body_fingerprint(&bytes) {
                    return Answer::Settled { settled: receipt.settled, replayed: true };
                }
                answer
            }
            Ok(None) => answer,
            Err(_) => Answer::NotNow(NotNow::StoreAway),
        }
    }

    /// The problem of a command for which the engine returned no answer.
    pub fn unanswered(&self) -> Problem {
        Problem::fault(self.backend.new_id(), &"the engine returned no answer for a command")
    }

    /// Parses a command, checks the caller's permission, the party that the command acts for and any webhook address in
    /// it, and seals its personal fields.
    pub async fn prepare(&self, caller: &Caller, request: &CommandRequest<'_>) -> Result<Envelope, Problem> {
        let kind = self
            .commands
            .get(request.name)
            .ok_or_else(|| Problem::not_found("UNKNOWN_COMMAND", "there is no command of this name"))?;
        check_permission(caller, kind)?;
        let (id, id_is_new) = match request.key {
            Some(key) => (command_id(caller.tenant, key)?, false),
            None => (CommandId::new(self.backend.new_id()), true),
        };
        let body = json::strict(request.body)?;
        require_object(body)?;
        let mut command = kind.parse(body)?;
        check_subject(caller, command.subject())?;
        if let Some(url) = command.target()
            && let Err(not_permitted) = self.backend.webhooks().check_target(url).await
            && (id_is_new || !self.is_decided(caller, id).await?)
        {
            return Err(not_permitted.into());
        }
        let fingerprint = self.backend.fingerprint(&kind.canonical(&*command, body)?);
        let person_keys = self.backend.seal(caller.tenant, &mut *command).await?;
        Ok(Envelope {
            id,
            command,
            fingerprint: fingerprint.into(),
            principal: caller.principal,
            actor: caller.actor.clone(),
            correlation: request.correlation,
            causation: None,
            deadline: Some(self.deadline()),
            id_is_new,
            person_keys,
        })
    }

    /// True if the command has a stored answer: the caller then gets that answer, even if the webhook address in the
    /// command is no longer permitted.
    async fn is_decided(&self, caller: &Caller, id: CommandId) -> Result<bool, Problem> {
        let recalled = self.backend.receipt(caller.tenant, caller.principal, id).await;
        recalled.map(|receipt| receipt.is_some()).map_err(|fault| Problem::from_fault(&fault, self.backend.new_id()))
    }
}

/// The command id of an idempotency key: the key itself if it is a UUID, otherwise derived from the tenant and the key.
pub fn command_id(tenant: TenantId, key: &str) -> Result<CommandId, Problem> {
    if key.is_empty() || key.len() > KEY_BYTES_MOST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!("expected 1 to {KEY_BYTES_MOST} visible ASCII characters without blanks");
        return Err(Misuse::new("INVALID_KEY", "Idempotency-Key", text).into());
    }
    Ok(key.parse().unwrap_or_else(|_| CommandId::derived(tenant.uuid(), key)))
}

/// Refuses JSON arrays: serde would accept one as the fields of a struct in order.
fn require_object(body: &str) -> Result<(), Misuse> {
    if body.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    Err(Misuse::new("INVALID_FIELD", "", "expected a JSON object"))
}

fn check_permission(caller: &Caller, kind: &CommandDescriptor) -> Result<(), Problem> {
    if caller.may(kind.needs) {
        return Ok(());
    }
    let detail = format!("{} needs the permission {:?}, which this caller's roles do not give", kind.name, kind.needs);
    Err(Problem::forbidden(detail))
}

/// Checks that the caller may act for the subject of the command: the customer, tenant or platform that it changes.
fn check_subject(caller: &Caller, subject: Subject) -> Result<(), Problem> {
    let permitted = match subject {
        Subject::Customer(customer) => caller.customer.is_none_or(|own| own == customer),
        Subject::Tenant => caller.customer.is_none(),
        // Only operators have tokens of this tenant.
        Subject::Platform => caller.tenant == TenantId::PLATFORM,
    };
    if permitted { Ok(()) } else { Err(Problem::forbidden("this caller cannot act for that subject")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_id_is_derived_from_tenant_and_key() {
        let (one, other) = (TenantId::new(Uuid::from_u128(1)), TenantId::new(Uuid::from_u128(2)));
        let id = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
        assert_eq!(command_id(one, id).expect("an id").to_string(), id);
        assert_eq!(command_id(one, "order-7").expect("a key"), command_id(one, "order-7").expect("a key"));
        assert_ne!(command_id(one, "order-7").expect("a key"), command_id(other, "order-7").expect("a key"));
        // The nil UUID is not a command id, so it is treated as any other key.
        assert!(command_id(one, "00000000-0000-0000-0000-000000000000").is_ok_and(|id| !id.uuid().is_nil()));
        assert!(command_id(one, &"k".repeat(255)).is_ok());
    }

    #[test]
    fn command_body_must_be_an_object() {
        assert_eq!(require_object(" {}"), Ok(()));
        for bad in ["[]", "[\"0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b\"]", "null", "7", "\"{}\""] {
            assert!(require_object(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn invalid_key_is_refused() {
        let tenant = TenantId::new(Uuid::from_u128(1));
        for bad in ["", " ", "a b", "a\tb", "ä", "a\0", &"k".repeat(256)] {
            assert_eq!(command_id(tenant, bad).map_err(|problem| problem.status.as_u16()), Err(400), "{bad:?}");
        }
    }
}
