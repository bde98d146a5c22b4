//! A merchant's sign-up and standing, at the platform.

use domain::shared::{Currency, Email, Permission, Personal, Reason, SealError, Sealer, Slug, TenantId, Title, Zone};
use domain::tenancy::{NameClaim, Registration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Command, Context, Desk, Hint, Misuse, Refusal, Subject};

/// Register an organisation that wants to run shops here. Its tenant is opened as soon as that is written down.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterTenant {
    /// The id of the new tenant, made by the caller.
    pub tenant: TenantId,
    /// What the organisation and its first store are called.
    pub name: Title,
    /// Unique on the platform.
    pub subdomain: Slug,
    /// Unique on the platform.
    pub contact_email: Personal<Email>,
    /// The currency of all prices of the tenant, for ever.
    pub currency: Currency,
    /// The zone in which the business days of the first store begin and end.
    pub zone: Zone,
}

impl Command for RegisterTenant {
    const NEEDS: Permission = Permission::ManageTenants;

    fn subject(&self) -> Subject {
        Subject::Platform
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Registration>(self.tenant);
        let scope = TenantId::PLATFORM.uuid();
        hint.stream::<NameClaim>(NameClaim::id("subdomain", scope, &self.subdomain.to_string()));
        if let Some(index) = self.contact_email.blind_index() {
            hint.stream::<NameClaim>(NameClaim::id("email", scope, index));
        }
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        require_platform(context)?;
        if self.tenant == TenantId::PLATFORM {
            let text = "this id is reserved for the platform";
            return Err(Refusal::Misuse(Misuse::new("INVALID_FIELD", "tenant", text)));
        }
        let Some(index) = self.contact_email.blind_index() else {
            let text = "an address cannot be kept unique before it is sealed";
            return Err(Refusal::Misuse(Misuse::new("NOT_SEALED", "contact_email", text)));
        };
        let scope = TenantId::PLATFORM.uuid();
        let subdomain = NameClaim::id("subdomain", scope, &self.subdomain.to_string());
        let email = NameClaim::id("email", scope, index);
        let owner = self.tenant.uuid();
        desk.fetch(|hint| self.streams(hint))?;
        desk.decide::<Registration>(self.tenant, |registration| {
            let (name, subdomain, email) = (self.name.clone(), self.subdomain.clone(), self.contact_email.clone());
            registration.register(name, subdomain, email, self.currency, self.zone.clone())
        })?;
        desk.decide::<NameClaim>(subdomain, |name| name.claim("subdomain", owner))?;
        desk.decide::<NameClaim>(email, |name| name.claim("email", owner))
    }

    fn seal(&mut self, sealer: &mut dyn Sealer) -> Result<(), SealError> {
        self.contact_email.seal(self.tenant.uuid(), sealer)
    }
}

/// Let a tenant take no new orders for now; those it has can be finished. It follows as soon as that is written down.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuspendTenant {
    pub tenant: TenantId,
    pub reason: Reason,
}

impl Command for SuspendTenant {
    const NEEDS: Permission = Permission::ManageTenants;

    fn subject(&self) -> Subject {
        Subject::Platform
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Registration>(self.tenant);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        require_platform(context)?;
        desk.decide::<Registration>(self.tenant, |registration| registration.suspend(self.reason.clone()))
    }
}

/// Let a suspended tenant take orders again. It follows as soon as that is written down.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReinstateTenant {
    pub tenant: TenantId,
}

impl Command for ReinstateTenant {
    const NEEDS: Permission = Permission::ManageTenants;

    fn subject(&self) -> Subject {
        Subject::Platform
    }

    fn streams(&self, hint: &mut Hint) {
        hint.stream::<Registration>(self.tenant);
    }

    fn decide(&self, desk: &mut Desk, context: &Context) -> Result<(), Refusal> {
        require_platform(context)?;
        desk.decide::<Registration>(self.tenant, Registration::reinstate)
    }
}

/// Registrations live in the platform's own tenant.
fn require_platform(context: &Context) -> Result<(), Refusal> {
    if context.tenant == TenantId::PLATFORM {
        return Ok(());
    }
    let text = "tenants are registered, suspended and reinstated at the platform";
    Err(Refusal::Misuse(Misuse::new("NOT_THE_PLATFORM", "", text)))
}
