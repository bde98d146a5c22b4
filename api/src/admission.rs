//! From what a caller sent to what the scribe decides: read, permitted, sealed. What fails here never reaches it.

use commands::kernel::{CommandDescriptor, Commands, Misuse, Subject};
use commands::scribe::Envelope;
use domain::shared::{CommandId, Seconds, TenantId, Timestamp};
use uuid::Uuid;

use crate::auth::Caller;
use crate::backend::Backend;
use crate::error::Problem;
use crate::json;

/// A caller who waits longer has gone; what was not decided by then never is.
pub const DECIDED_WITHIN: Seconds = Seconds(10);

/// An idempotency key is at most this long.
const KEY_BYTES_MOST: usize = 255;

/// One wish as it was sent.
pub struct Wish<'a> {
    pub name: &'a str,
    /// JSON, not looked at yet.
    pub body: &'a [u8],
    /// The caller's own key for it; without one, every attempt is a new command.
    pub key: Option<&'a str>,
    /// Follows one story through many commands.
    pub correlation: Option<Uuid>,
}

/// When a command that is submitted now must be decided.
pub fn deadline(backend: &dyn Backend) -> Option<Timestamp> {
    Some(backend.now().after(DECIDED_WITHIN))
}

/// Reads a wish, asks whether the caller may have it and whether an address in it may be called, and seals what is
/// personal in it.
pub async fn admit(
    backend: &dyn Backend,
    commands: &Commands,
    caller: &Caller,
    wish: &Wish<'_>,
) -> Result<Envelope, Problem> {
    let kind = commands
        .get(wish.name)
        .ok_or_else(|| Problem::not_found("UNKNOWN_COMMAND", "there is no command of this name"))?;
    permit(caller, kind)?;
    let (id, id_is_new) = match wish.key {
        Some(key) => (command_id(caller.tenant, key)?, false),
        None => (CommandId::new(backend.new_id()), true),
    };
    let body = json::strict(wish.body)?;
    require_object(body)?;
    let mut command = kind.parse(body)?;
    check_subject(caller, command.subject())?;
    if let Some(url) = command.target()
        && let Err(not_permitted) = backend.webhooks().permit(url).await
        && (id_is_new || !is_decided(backend, caller, id).await?)
    {
        return Err(not_permitted.into());
    }
    // The name belongs to what was sent: two commands may have the same body.
    let fingerprint = backend.fingerprint(format!("{}\n{body}", kind.name).as_bytes());
    let person_keys = backend.seal(caller.tenant, &mut *command).await?;
    Ok(Envelope {
        id,
        command,
        fingerprint: fingerprint.into(),
        principal: caller.principal,
        actor: caller.actor.clone(),
        correlation: wish.correlation,
        causation: None,
        deadline: deadline(backend),
        id_is_new,
        person_keys,
    })
}

/// What was decided has its answer for ever, whatever its address leads to by now.
async fn is_decided(backend: &dyn Backend, caller: &Caller, id: CommandId) -> Result<bool, Problem> {
    let recalled = backend.receipt(caller.tenant, caller.principal, id).await;
    recalled.map(|found| found.is_some()).map_err(|fault| Problem::from_fault(&fault, backend.new_id()))
}

/// A key that is a UUID is the id; every other key has an id that follows from it and the tenant.
pub fn command_id(tenant: TenantId, key: &str) -> Result<CommandId, Problem> {
    if key.is_empty() || key.len() > KEY_BYTES_MOST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!("expected 1 to {KEY_BYTES_MOST} visible ASCII characters without blanks");
        return Err(Misuse::new("INVALID_KEY", "Idempotency-Key", text).into());
    }
    Ok(key.parse().unwrap_or_else(|_| CommandId::derived(tenant.uuid(), key)))
}

/// Serde also reads the fields of a struct from a list, by their places; nobody means that.
fn require_object(body: &str) -> Result<(), Misuse> {
    if body.trim_ascii_start().starts_with('{') {
        return Ok(());
    }
    Err(Misuse::new("INVALID_FIELD", "", "expected a JSON object"))
}

fn permit(caller: &Caller, kind: &CommandDescriptor) -> Result<(), Problem> {
    if caller.may(kind.needs) {
        return Ok(());
    }
    let detail = format!("{} needs the permission {:?}, which this caller's roles do not give", kind.name, kind.needs);
    Err(Problem::forbidden(detail))
}

/// For whom one may act is another question than what one may do.
fn check_subject(caller: &Caller, subject: Subject) -> Result<(), Problem> {
    let permitted = match subject {
        Subject::Customer(customer) => caller.customer.is_none_or(|own| own == customer),
        Subject::Tenant => caller.customer.is_none(),
        // Tokens of this tenant belong to operators alone.
        Subject::Platform => caller.tenant == TenantId::PLATFORM,
    };
    if permitted { Ok(()) } else { Err(Problem::forbidden("this caller cannot act for that subject")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_always_means_the_same_command_of_its_tenant() {
        let (one, other) = (TenantId::new(Uuid::from_u128(1)), TenantId::new(Uuid::from_u128(2)));
        let id = "0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b";
        assert_eq!(command_id(one, id).expect("an id").to_string(), id);
        assert_eq!(command_id(one, "order-7").expect("a key"), command_id(one, "order-7").expect("a key"));
        assert_ne!(command_id(one, "order-7").expect("a key"), command_id(other, "order-7").expect("a key"));
        // What looks like an id and is none is a key like any other.
        assert!(command_id(one, "00000000-0000-0000-0000-000000000000").is_ok_and(|id| !id.uuid().is_nil()));
        assert!(command_id(one, &"k".repeat(255)).is_ok());
    }

    #[test]
    fn a_command_is_an_object() {
        assert_eq!(require_object(" {}"), Ok(()));
        for bad in ["[]", "[\"0190a5b2-7c3d-7e4f-8a9b-0c1d2e3f4a5b\"]", "null", "7", "\"{}\""] {
            assert!(require_object(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_odd_key_is_refused() {
        let tenant = TenantId::new(Uuid::from_u128(1));
        for bad in ["", " ", "a b", "a\tb", "ä", "a\0", &"k".repeat(256)] {
            assert_eq!(command_id(tenant, bad).map_err(|problem| problem.status.as_u16()), Err(400), "{bad:?}");
        }
    }
}
