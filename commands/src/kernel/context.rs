//! Circumstances of a decision.

use domain::kernel::Actor;
use domain::shared::{CommandId, Principal, TenantId, Timestamp};

use super::{Misuse, NotNow, Refusal};

/// The circumstances of a decision.
#[derive(Clone, Debug)]
pub struct Context {
    /// The lane's clock, which never goes backwards.
    pub now: Timestamp,
    pub tenant: TenantId,
    pub principal: Principal,
    pub actor: Actor,
    pub command: CommandId,
}

impl Context {
    /// Refuses a timer's command before its time. It stays and is sent again.
    pub fn require_due(&self, at: Timestamp) -> Result<(), Refusal> {
        if self.now < at { Err(Refusal::NotNow(NotNow::NotDue)) } else { Ok(()) }
    }

    /// Refuses a command of the platform outside the platform's own tenant.
    pub fn require_platform(&self) -> Result<(), Refusal> {
        if self.tenant == TenantId::PLATFORM {
            return Ok(());
        }
        let text = "send this command in the tenant of the platform";
        Err(Refusal::Misuse(Misuse::new("NOT_THE_PLATFORM", "", text)))
    }
}
