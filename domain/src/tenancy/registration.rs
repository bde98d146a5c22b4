//! Registration of a tenant, and its suspension by the platform, as a stream of the platform's tenant (TEN-01, TEN-22).
//! Policies send each decision as a command to [`Tenant`](super::Tenant), a stream of the registered tenant.
//!
//! Invariants: a tenant is registered once; suspension and reinstatement alternate. Name claims make the subdomain and
//! the e-mail address unique (ES-15).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::{Aggregate, Decision, Rejection, Retry};
use crate::shared::{Currency, Email, Personal, Reason, Slug, TenantId, Title, Zone};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Registration {
    registered: Option<Registered>,
    suspended: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Registered {
    name: Title,
    subdomain: Slug,
    contact_email: Personal<Email>,
    currency: Currency,
    zone: Zone,
}

/// Stored format: names and fields of events are never renamed or removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum RegistrationEvent {
    /// An organisation registered as a tenant. The stream id is the tenant id.
    #[serde(rename = "tenant.registered")]
    Registered { name: Title, subdomain: Slug, contact_email: Personal<Email>, currency: Currency, zone: Zone },
    /// The platform ordered that the tenant accepts no new orders.
    #[serde(rename = "tenant.suspension_ordered")]
    SuspensionOrdered { reason: Reason },
    /// The platform ordered that the tenant accepts orders again.
    #[serde(rename = "tenant.reinstatement_ordered")]
    ReinstatementOrdered {},
}

/// Rejections of a registration.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema, thiserror::Error)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RegistrationRejection {
    #[error("this tenant is registered already, with other data")]
    AlreadyRegistered {},
    #[error("there is no such tenant")]
    TenantUnknown {},
}

impl Rejection for RegistrationRejection {
    fn retry(&self) -> Retry {
        match self {
            Self::AlreadyRegistered {} => Retry::Never,
            Self::TenantUnknown {} => Retry::NewId,
        }
    }
}

impl Registration {
    /// Registers an organisation. A repeat with the same data changes nothing.
    pub fn register(
        &self,
        name: Title,
        subdomain: Slug,
        contact_email: Personal<Email>,
        currency: Currency,
        zone: Zone,
    ) -> Decision<Self> {
        let requested = Registered { name, subdomain, contact_email, currency, zone };
        match &self.registered {
            Some(known) if *known == requested => Ok(vec![]),
            Some(_) => Err(RegistrationRejection::AlreadyRegistered {}),
            None => {
                let Registered { name, subdomain, contact_email, currency, zone } = requested;
                Ok(vec![RegistrationEvent::Registered { name, subdomain, contact_email, currency, zone }])
            }
        }
    }

    /// Orders the suspension of the tenant. If it is suspended already, the first reason is kept.
    pub fn suspend(&self, reason: Reason) -> Decision<Self> {
        match self.is_suspended()? {
            true => Ok(vec![]),
            false => Ok(vec![RegistrationEvent::SuspensionOrdered { reason }]),
        }
    }

    /// Orders the end of a suspension.
    pub fn reinstate(&self) -> Decision<Self> {
        match self.is_suspended()? {
            true => Ok(vec![RegistrationEvent::ReinstatementOrdered {}]),
            false => Ok(vec![]),
        }
    }

    fn is_suspended(&self) -> Result<bool, RegistrationRejection> {
        self.registered.as_ref().map(|_| self.suspended).ok_or(RegistrationRejection::TenantUnknown {})
    }
}

impl Aggregate for Registration {
    const TYPE: &'static str = "Registration";
    type Id = TenantId;
    type Event = RegistrationEvent;
    type Rejection = RegistrationRejection;

    fn apply(&mut self, event: &RegistrationEvent) {
        match event.clone() {
            RegistrationEvent::Registered { name, subdomain, contact_email, currency, zone } => {
                self.registered = Some(Registered { name, subdomain, contact_email, currency, zone });
            }
            RegistrationEvent::SuspensionOrdered { .. } => self.suspended = true,
            RegistrationEvent::ReinstatementOrdered {} => self.suspended = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Sealed;
    use crate::testing::given;
    use crate::testing::values::parsed;

    fn address(ciphertext: &str) -> Personal<Email> {
        Personal::Sealed(Sealed::new(ciphertext, Some("ada")))
    }

    fn register(
        registration: &Registration,
        subdomain: &str,
        contact_email: Personal<Email>,
    ) -> Decision<Registration> {
        registration.register(
            parsed("Ada's Mugs"),
            subdomain.parse().expect("a subdomain"),
            contact_email,
            parsed("USD"),
            parsed("Europe/Berlin"),
        )
    }

    fn registered() -> RegistrationEvent {
        register(&Registration::default(), "adas-mugs", address("one")).expect("a decision").remove(0)
    }

    #[test]
    fn tenant_is_registered_once() {
        given([])
            .when(|registration| register(registration, "adas-mugs", address("one")))
            .then_once([registered()])
            .when(|registration| register(registration, "adas-mugs", address("one")))
            .then_nothing();
    }

    #[test]
    fn registration_with_other_data_is_rejected() {
        given([registered()])
            .when(|registration| register(registration, "adas-cups", address("one")))
            .then_rejected(RegistrationRejection::AlreadyRegistered {});
        given([registered()])
            .when(|registration| register(registration, "adas-mugs", address("two")))
            .then_rejected(RegistrationRejection::AlreadyRegistered {});
    }

    #[test]
    fn suspension_and_reinstatement_alternate() {
        let reason: Reason = parsed("fraud");
        given([registered()]).when(Registration::reinstate).then_nothing();
        given([registered()])
            .when(|registration: &Registration| registration.suspend(reason.clone()))
            .then_once([RegistrationEvent::SuspensionOrdered { reason: reason.clone() }])
            .when(Registration::reinstate)
            .then_once([RegistrationEvent::ReinstatementOrdered {}])
            .when(|registration: &Registration| registration.suspend(reason.clone()))
            .then_once([RegistrationEvent::SuspensionOrdered { reason: reason.clone() }]);
    }

    #[test]
    fn unregistered_tenant_cannot_be_suspended_or_reinstated() {
        let reason: Reason = parsed("fraud");
        let unknown = RegistrationRejection::TenantUnknown {};
        given([])
            .when(|registration: &Registration| registration.suspend(reason.clone()))
            .then_rejected(unknown.clone());
        given([]).when(Registration::reinstate).then_rejected(unknown);
    }
}
